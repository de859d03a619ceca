package doctor

import (
	"io"
	"log"
)

// quiet takes what net/http says of connections that a test breaks.
var quiet = log.New(io.Discard, "", 0)
