package adminapi

import (
	"sync"

	"github.com/refreshd/refreshd/adapter/web"
)

// The page of a document takes some 30 ms, and each test mounts it.
func init() {
	var made sync.Map
	makeOne := documentFor
	documentFor = func(url, tenantID string) (*web.Document, error) {
		one, _ := made.LoadOrStore(url+" "+tenantID, sync.OnceValues(func() (*web.Document, error) {
			return makeOne(url, tenantID)
		}))
		return one.(func() (*web.Document, error))()
	}
}
