package oauthapi

import (
	"sync"

	"github.com/refreshd/refreshd/adapter/web"
)

func init() {
	var made sync.Map
	make := documentFor
	documentFor = func(url, tenantID string) (*web.Document, error) {
		if d, ok := made.Load([2]string{url, tenantID}); ok {
			return d.(*web.Document), nil
		}
		d, err := make(url, tenantID)
		if err == nil {
			made.Store([2]string{url, tenantID}, d)
		}
		return d, err
	}
}
