package httpapi

import "github.com/labstack/echo/v4"

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
