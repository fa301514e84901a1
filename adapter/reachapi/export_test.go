package reachapi

import (
	"sync"

	"github.com/refreshd/refreshd/adapter/web"
)

// The page of a document takes some 30 ms, and each test mounts it.
func init() {
	var made sync.Map
	make := documentFor
	documentFor = func(url, tenantID string) (*web.Document, error) {
		if d, ok := made.Load(url + " " + tenantID); ok {
			return d.(*web.Document), nil
		}
		d, err := make(url, tenantID)
		made.Store(url+" "+tenantID, d)
		return d, err
	}
}

// ToBeat lets a test ask when a stream wakes.
var ToBeat = toBeat
