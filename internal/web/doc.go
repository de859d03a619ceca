// Package web is what every HTTP surface of podgate shares: handlers that
// return errors, the one place that logs and answers them, request ids, body
// limits, security headers, same-origin checks, client addresses and rate
// limits.
//
// A route fixes the form in which its errors are written (an [ErrorWriter]);
// nothing here ever chooses one by looking at Accept. What a client sees of an
// error is its public half; the cause goes to the log only.
package web
