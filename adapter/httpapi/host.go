package httpapi

import "github.com/refreshd/refreshd/adapter/web"

// isLoopback reports whether a Host header names this machine: the only place where a cookie may travel in the clear.
func isLoopback(hostport string) bool { return web.IsLoopback(hostport) }
