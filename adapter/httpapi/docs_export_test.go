package httpapi

import (
	"sync"

	"github.com/labstack/echo/v4"
)

// Each document is made once for all tests.
func init() {
	var made sync.Map // Examples -> func() (*document, error)
	makeOne := documentFor
	documentFor = func(x Examples) (*document, error) {
		one, _ := made.LoadOrStore(x, sync.OnceValues(func() (*document, error) { return makeOne(x) }))
		return one.(func() (*document, error))()
	}
}

// DocumentRoutes are the handlers of the document, by path.
func DocumentRoutes(x Examples) (map[string]echo.HandlerFunc, error) {
	d, err := documentFor(x)
	if err != nil {
		return nil, err
	}
	return map[string]echo.HandlerFunc{
		"/openapi.yaml": d.serveYAML, "/docs": d.servePage, "/docs/style.css": d.serveStyle, "/docs/script.js": d.serveScript,
	}, nil
}
