package httpapi

import (
	"sync"

	"github.com/refreshd/refreshd/adapter/web"
)

// All tests share each document.
func init() {
	var made sync.Map // Examples -> func() (*web.Document, error)
	makeOne := documentFor
	documentFor = func(x Examples) (*web.Document, error) {
		one, _ := made.LoadOrStore(x, sync.OnceValues(func() (*web.Document, error) { return makeOne(x) }))
		return one.(func() (*web.Document, error))()
	}
}
