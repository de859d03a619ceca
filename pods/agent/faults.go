package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"syscall"

	"podgate/pods/wire"
)

func faultf(code, format string, args ...any) *wire.Fault {
	return &wire.Fault{Code: code, Message: fmt.Sprintf(format, args...)}
}

func badRequest(format string, args ...any) *wire.Fault {
	return faultf(wire.FaultBadRequest, format, args...)
}

var faultStatus = map[string]int{
	wire.FaultBadRequest:   http.StatusBadRequest,
	wire.FaultPath:         http.StatusForbidden,
	wire.FaultNotFound:     http.StatusNotFound,
	wire.FaultTooLarge:     http.StatusRequestEntityTooLarge,
	wire.FaultNotDir:       http.StatusConflict,
	wire.FaultIsDir:        http.StatusConflict,
	wire.FaultExists:       http.StatusConflict,
	wire.FaultChanged:      http.StatusConflict,
	wire.FaultStale:        http.StatusConflict,
	wire.FaultNotListening: http.StatusBadGateway,
	wire.FaultNotRunning:   http.StatusConflict,
	wire.FaultBusy:         http.StatusTooManyRequests,
	wire.FaultEnded:        http.StatusConflict,
	wire.FaultFailed:       http.StatusInternalServerError,
}

// asFault turns any error into what the server may be told.
func asFault(err error) *wire.Fault {
	var f *wire.Fault
	if errors.As(err, &f) {
		return f
	}
	var tooBig *http.MaxBytesError
	if errors.As(err, &tooBig) {
		return faultf(wire.FaultTooLarge, "the request is over %d bytes", tooBig.Limit)
	}
	return faultf(wire.FaultFailed, "%v", err)
}

// fileFault puts an error of the file system into the protocol's words. path is
// as the caller gave it.
func fileFault(path string, err error) error {
	var f *wire.Fault
	var tooBig *http.MaxBytesError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &f):
		return err
	case errors.As(err, &tooBig):
		return faultf(wire.FaultTooLarge, "a file may have at most %d bytes", tooBig.Limit)
	case errors.Is(err, fs.ErrNotExist):
		return faultf(wire.FaultNotFound, "%s does not exist", path)
	case errors.Is(err, syscall.ENOTDIR):
		return faultf(wire.FaultNotDir, "a part of %s is not a directory", path)
	case errors.Is(err, syscall.EISDIR):
		return faultf(wire.FaultIsDir, "%s is a directory", path)
	case errors.Is(err, syscall.ENAMETOOLONG):
		return badRequest("a name in the path is over 255 bytes")
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return faultf(wire.FaultFailed, "the disk is full; delete something and try again")
	case errors.Is(err, fs.ErrPermission):
		return faultf(wire.FaultFailed, "%s: permission denied; change its mode with a command first", path)
	}
	return faultf(wire.FaultFailed, "%s: %v", path, rootCause(err))
}

// rootCause drops the path that a file error carries: inside os.Root it is a
// fragment that would only confuse.
func rootCause(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

func writeFault(w http.ResponseWriter, f *wire.Fault) {
	status := faultStatus[f.Code]
	if status == 0 {
		status = http.StatusInternalServerError
	}
	writeJSON(w, status, f)
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		status, b = http.StatusInternalServerError, []byte(`{"code":"failed","message":"the answer cannot be written as JSON"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(b)
}
