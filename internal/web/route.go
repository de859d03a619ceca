package web

// Route is one endpoint of a package: main puts all of them on one router.
type Route struct {
	Method  string
	Path    string // in httprouter's syntax
	Handler Handler
	Errors  ErrorWriter // the form of this route's errors
	CORS    bool        // scripts of any origin may call it; never with a session cookie
	Page    bool        // a page, which browsers find on the PageHost only
}
