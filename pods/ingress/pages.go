package ingress

import (
	"errors"
	"net/http"

	"podgate/internal/errorpage"
	"podgate/pods"
)

// What a visitor sees when there is no app to answer. It says nothing of the pod
// but its state: anybody may visit.
var (
	pageAbsent   = errorpage.Page{Status: http.StatusNotFound, Title: "No pod here", Text: "There is no pod at this address. Check the name, or ask whoever gave you the link."}
	pageStopped  = errorpage.Page{Status: http.StatusServiceUnavailable, Title: "This pod is stopped", Text: "Its owner can start it again."}
	pageStarting = errorpage.Page{Status: http.StatusServiceUnavailable, Title: "This pod is starting", Text: "It should be there in a few seconds. This page tries again by itself.", Retry: 3, Refresh: true}
	pageFailed   = errorpage.Page{Status: http.StatusBadGateway, Title: "The app does not answer", Text: "The pod is there, but nothing answers on its port. Its owner finds the reason in its logs."}
	pageSilent   = errorpage.Page{Status: http.StatusGatewayTimeout, Title: "The app took too long", Text: "The app took the request and did not answer in time. Its owner finds the reason in its logs."}
	pageBroken   = errorpage.Page{Status: http.StatusBadGateway, Title: "The app gave no proper answer", Text: "What the app answered is not HTTP as it should be, or it ended before it was through. Its owner finds the reason in its logs."}
	pageImproper = errorpage.Page{Status: http.StatusBadRequest, Title: "This is no proper request", Text: "What was sent cannot be passed on to the app."}
	pageBusy     = errorpage.Page{Status: http.StatusServiceUnavailable, Title: "This pod is busy", Text: "It has as many requests open as it can have. Try again in a moment.", Retry: 5}
	pageShare    = errorpage.Page{Status: http.StatusTooManyRequests, Title: "Too many requests at once", Text: "Your address has as many requests open here as one may have. Close other windows of this page, or try again in a moment.", Retry: 5}
	pageTooLarge = errorpage.Page{Status: http.StatusRequestEntityTooLarge, Title: "The request is too large", Text: "The app or this server does not take a request of that size."}
	pageStalled  = errorpage.Page{Status: http.StatusRequestTimeout, Title: "The request took too long to arrive", Text: "Your connection paused in the middle of what it sent. Send it again."}
	pageDown     = errorpage.Page{Status: http.StatusServiceUnavailable, Title: "Pods cannot run right now", Text: "The person who runs this server finds the reason in its log."}
)

// pageFor chooses the page for an error of Service.DialApp.
func pageFor(err error, status string) errorpage.Page {
	switch {
	case errors.Is(err, pods.ErrNotFound):
		return pageAbsent
	case errors.Is(err, pods.ErrUnavailable):
		return pageDown
	case status == "stopped", status == "stopping":
		return pageStopped
	case status == "starting", status == "creating", status == "failing":
		return pageStarting
	}
	return pageFailed
}

// answer sends a page in place of what the app may have begun to say.
func answer(w http.ResponseWriter, r *http.Request, p errorpage.Page) {
	clear(w.Header())
	p.Write(w, r)
}
