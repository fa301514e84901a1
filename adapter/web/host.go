package web

import (
	"net"
	"net/netip"
	"strings"
)

// IsLoopback reports whether a Host header is localhost or a loopback address. A cookie may be sent without
// TLS only to such a host.
func IsLoopback(hostport string) bool {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback() || strings.EqualFold(host, "localhost")
}
