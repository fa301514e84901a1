package run

import (
	"context"
	"fmt"
	"net/http"
	"net/http/pprof"

	"github.com/refreshd/refreshd/adapter/web"
)

// newAdmin returns the handler of the admin listener, for operators: metrics, readiness and, if enabled, profiles.
func (s *service) newAdmin(ready func(context.Context) error, profiles bool) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", s.metrics.Handler())
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if err := ready(r.Context()); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ready")
	})
	if profiles {
		// Without cmdline, which shows the arguments.
		local := http.NewServeMux()
		local.HandleFunc("/debug/pprof/", pprof.Index)
		local.HandleFunc("/debug/pprof/profile", pprof.Profile)
		local.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
		local.HandleFunc("/debug/pprof/trace", pprof.Trace)
		mux.HandleFunc("/debug/pprof/", func(w http.ResponseWriter, r *http.Request) {
			// A hostile page in an operator's browser can reach the listener by resolving its own name to the listener's
			// address (DNS rebinding), but it cannot choose the header.
			if !web.IsLoopback(r.Host) {
				http.Error(w, "profiles are for requests to localhost or a loopback address", http.StatusForbidden)
				return
			}
			local.ServeHTTP(w, r)
		})
	}
	return mux
}
