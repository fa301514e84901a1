package web

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"
)

// ClientAddr returns a function that finds a request's client address. It is the peer's, unless the peer is a trusted
// proxy. Then X-Forwarded-For is read from its end, as long as the address that added an entry is trusted; the last
// entry read is the client address. The result has at most 45 characters, without zone and port, and IPv4 in dotted
// form. It is empty if the peer has no address (a Unix socket).
func ClientAddr(trusted []netip.Prefix) echo.IPExtractor {
	trusts := trustIn(trusted)
	return func(req *http.Request) string {
		addr, ok := parseAddr(req.RemoteAddr)
		if !ok {
			return ""
		}
		if !trusts(addr) {
			return addr.String()
		}
		hops := strings.Split(strings.Join(req.Header.Values(echo.HeaderXForwardedFor), ","), ",")
		for i := len(hops) - 1; i >= 0 && trusts(addr); i-- {
			hop, ok := parseAddr(strings.TrimSpace(hops[i]))
			if !ok {
				break
			}
			addr = hop
		}
		return addr.String()
	}
}

func trustIn(trusted []netip.Prefix) (trusts func(netip.Addr) bool) {
	prefixes := make([]netip.Prefix, len(trusted))
	for i, p := range trusted {
		if p.Addr().Is4In6() && p.Bits() >= 96 {
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
		prefixes[i] = p
	}
	return func(a netip.Addr) bool {
		return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(a) })
	}
}

// parseAddr parses an address with or without port or brackets.
func parseAddr(s string) (netip.Addr, bool) {
	addr, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(s, "["), "]"))
	if err != nil {
		withPort, err := netip.ParseAddrPort(s)
		if err != nil {
			return netip.Addr{}, false
		}
		addr = withPort.Addr()
	}
	return addr.Unmap().WithZone(""), true
}
