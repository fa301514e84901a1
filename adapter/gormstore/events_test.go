package gormstore_test

import (
	"cmp"
	"slices"
	"testing"
	"time"

	"github.com/refreshd/refreshd/adapter/gormstore"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

// BenchmarkEvents reports the 99th percentile of the duration of a page out of a million events, first and deep. A
// query of which no event is selected takes the longest: its page looks at as many as one may.
func BenchmarkEvents(b *testing.B) {
	const n = 1_000_000
	for _, engine := range []struct {
		name string
		on   func(testing.TB) database
	}{{"SQLite", onSQLite}, {"PostgreSQL", onPostgres}} {
		b.Run(engine.name, func(b *testing.B) {
			d := engine.on(b)
			s := d.migrated(b, gormstore.Options{})
			manyEvents(b, d, n)
			for _, q := range []struct {
				name string
				port.EventQuery
			}{
				{"all", port.EventQuery{}},
				{"of a small tenant", port.EventQuery{TenantID: "acme"}},
				{"of a large tenant", port.EventQuery{TenantID: "tenant-1"}},
				{"of most", port.EventQuery{Kinds: []domain.EventKind{domain.TokenRevoked}}},
				{"of few", port.EventQuery{Kinds: []domain.EventKind{domain.TenantUpdated}}},
				{"of none", port.EventQuery{RequestID: "none"}},
				{"of none of a large tenant", port.EventQuery{TenantID: "tenant-1", ObjectID: "none"}},
			} {
				for _, at := range []struct {
					name  string
					below int
				}{{"first", 0}, {"deep", n / 10}} {
					b.Run(q.name+"/"+at.name, func(b *testing.B) {
						q := q.EventQuery
						q.Limit, q.MaxBytes, q.MaxRows = 100, port.MaxListBytes, port.MaxListRows
						if at.below > 0 {
							q.Below = domain.FirstID(time.UnixMilli(int64(at.below)))
						}
						var took []time.Duration
						for b.Loop() {
							begin := time.Now()
							if _, err := s.Events(b.Context(), q); err != nil {
								b.Fatal(err)
							}
							took = append(took, time.Since(begin))
						}
						slices.SortFunc(took, cmp.Compare)
						p99 := took[(len(took)-1)*99/100]
						b.ReportMetric(float64(p99.Microseconds())/1000, "p99-ms")
					})
				}
			}
		})
	}
}
