package gormstore

import (
	"context"
	"crypto/tls"
	"database/sql/driver"
	"errors"
	"net/netip"
	"slices"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

// connector tries the host that served last first: otherwise each new connection would wait for a silent host that is
// named before it in the DSN.
type connector struct {
	hosts  []driver.Connector
	served *atomic.Int64 // the index of that host
}

func newConnector(config *pgx.ConnConfig) connector {
	c := connector{served: new(atomic.Int64)}
	first := pgconn.FallbackConfig{Host: config.Host, Port: config.Port, TLSConfig: config.TLSConfig}
	all := append([]*pgconn.FallbackConfig{&first}, config.Fallbacks...)
	for len(all) > 0 {
		// A host may appear twice in a row, with TLS and without.
		n := 1
		for n < len(all) && all[n].Host == all[0].Host && all[n].Port == all[0].Port {
			n++
		}
		one := config.Copy()
		one.Host, one.Port, one.TLSConfig, one.Fallbacks = all[0].Host, all[0].Port, all[0].TLSConfig, all[1:n]
		c.hosts = append(c.hosts, stdlib.GetConnector(*one))
		all = all[n:]
	}
	return c
}

// Driver implements driver.Connector.
func (c connector) Driver() driver.Driver { return c.hosts[0].Driver() }

// connecting in a context distinguishes the dialing of a connection from that of a cancel request, which the driver
// starts itself.
type connecting struct{}

// Connect implements driver.Connector.
func (c connector) Connect(ctx context.Context) (driver.Conn, error) {
	ctx = context.WithValue(ctx, connecting{}, true)
	first := c.served.Load()
	var errs []error
	full := false
	for i := range int64(len(c.hosts)) {
		host := (first + i) % int64(len(c.hosts))
		conn, err := c.hosts[host].Connect(ctx)
		if err == nil {
			c.served.Store(host)
			return conn, nil
		}
		full = full || lacksSlot(err)
		errs = append(errs, explain(err))
	}
	if full {
		errs = append(errs, errNoSlot)
	}
	return nil, errors.Join(errs...)
}

// plainTextHosts returns the remote hosts to which a connection may be unencrypted.
func (l *link) plainTextHosts() (hosts []string) {
	note := func(host string, encrypted *tls.Config) {
		ip, _ := netip.ParseAddr(host)
		network, _ := pgconn.NetworkAddress(host, 0)
		local := network == "unix" || host == "localhost" || ip.Unmap().IsLoopback()
		if encrypted == nil && !local && !slices.Contains(hosts, host) {
			hosts = append(hosts, host)
		}
	}
	note(l.config.Host, l.config.TLSConfig)
	for _, f := range l.config.Fallbacks {
		note(f.Host, f.TLSConfig)
	}
	return hosts
}
