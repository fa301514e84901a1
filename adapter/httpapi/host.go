package httpapi

import (
	"net"
	"net/netip"
	"strings"
)

// isLoopback tells whether a Host header names this machine: the only place where a cookie may travel in the clear.
func isLoopback(hostport string) bool {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	if address, err := netip.ParseAddr(host); err == nil {
		return address.IsLoopback()
	}
	return strings.EqualFold(host, "localhost")
}
