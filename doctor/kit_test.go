package doctor

import (
	"crypto/tls"
	"io"
	"log"
)

// quiet takes what net/http says of connections that a test breaks.
var quiet = log.New(io.Discard, "", 0)

func tlsConfig(c tls.Certificate) *tls.Config { return &tls.Config{Certificates: []tls.Certificate{c}} }
