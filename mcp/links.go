package mcp

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/google/jsonschema-go/jsonschema"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"podgate/internal/authz"
	"podgate/internal/web"
	"podgate/pods"
)

type createUploadInput struct {
	Name   string `json:"name" jsonschema:"the pod's name"`
	Path   string `json:"path,omitempty" jsonschema:"left out for an archive that is to be deployed; otherwise where the file goes, its name included, or with unpack the folder for what is in the archive: under /home/pod, or relative to /home/pod/app"`
	Unpack bool   `json:"unpack,omitempty" jsonschema:"true to unpack a tar or tar.gz into path; files of the same names are replaced and others stay"`
	Mode   string `json:"mode,omitempty" jsonschema:"permissions of the file in octal, such as 0755 for a script"`
	Bytes  int64  `json:"bytes,omitempty" jsonschema:"how large the file is, to hear at once when there is no room for it"`
}

type createUploadOutput struct {
	ID       string    `json:"id" jsonschema:"names the upload for deploy, once it is through"`
	URL      string    `json:"url" jsonschema:"good for one file, once; who has it can write that file, so keep it to yourself"`
	Command  string    `json:"command" jsonschema:"sends the file, put in the place of FILE"`
	Path     string    `json:"path"`
	MaxBytes int64     `json:"max_bytes" jsonschema:"what there is room for"`
	Expires  time.Time `json:"expires" jsonschema:"until when sending has to begin"`
}

type createDownloadInput struct {
	Name string `json:"name" jsonschema:"the pod's name"`
	Path string `json:"path" jsonschema:"the file, or a folder, which comes as tar.gz: under /home/pod or /tmp, or relative to /home/pod/app"`
}

type createDownloadOutput struct {
	URL     string    `json:"url" jsonschema:"good once; who has it can read the file, so keep it to yourself"`
	Command string    `json:"command" jsonschema:"fetches it"`
	Path    string    `json:"path"`
	Folder  bool      `json:"folder" jsonschema:"true when it comes as tar.gz"`
	Bytes   int64     `json:"bytes,omitempty" jsonschema:"of a file"`
	Expires time.Time `json:"expires" jsonschema:"until when fetching has to begin"`
}

// addLinkTools adds the tools for files that do not fit into a call.
func (e *endpoint) addLinkTools(s *sdk.Server) {
	add(e, s, tool{
		name: "create_upload", title: "Make a link for an upload", action: authz.WriteFiles, hints: changes(true, false), later: true,
		description: "Makes an address to which you send one file of any size from a shell with curl -T, within 15 minutes and without a token; the file goes to path in the pod, or is unpacked there. Use it for many files (pack them as tar.gz, with unpack) and for large ones. For a whole app leave path out and give the id to deploy: a pod that does not exist is made with the first plan (to choose another use create_pod before), and the archive is deleted after its deploy. Sending that breaks off can go on: curl -I shows Upload-Offset, and curl -C OFFSET -T sends the rest.",
		refine: func(s *jsonschema.Schema) {
			podName(s)
			s.Properties["mode"].Pattern = `^0?[0-7]{3}$`
			least := 0.0
			s.Properties["bytes"].Minimum = &least
		},
	}, e.createUpload)
	add(e, s, tool{
		name: "create_download", title: "Make a link for a download", action: authz.ReadFiles, hints: sdk.ToolAnnotations{ReadOnlyHint: true}, later: true,
		description: "Makes an address from which you fetch one file of any size, or a folder as tar.gz, from a shell with curl, once, within 15 minutes and without a token. Use read_file for what is short.",
		refine:      func(s *jsonschema.Schema) { podName(s); notEmpty(s, "path") },
	}, e.createDownload)
}

func (e *endpoint) createUpload(ctx context.Context, r request, in createUploadInput) (answer[createUploadOutput], error) {
	var mode uint64
	if in.Mode != "" {
		var err error
		if mode, err = strconv.ParseUint(in.Mode, 8, 32); err != nil {
			return answer[createUploadOutput]{}, badInput("mode must be three octal digits, such as 0644 or 0755")
		}
	}
	link, err := e.cfg.Pods.CreateUpload(ctx, r.actor, in.Name, pods.UploadRequest{Path: in.Path, Unpack: in.Unpack, Mode: uint32(mode), Bytes: in.Bytes})
	if err != nil {
		return answer[createUploadOutput]{}, err
	}
	url := e.cfg.Issuer + web.UploadPath + link.Secret
	out := createUploadOutput{ID: link.ID, URL: url, Command: "curl -fsS -T FILE '" + url + "'", Path: link.Path, MaxBytes: link.Room, Expires: link.Expires}
	said := fmt.Sprintf("Send the file, at most %s, until %s with:\n%s\nThe answer says done. If it breaks off, «curl -I» on the address shows Upload-Offset, and «curl -C OFFSET -T FILE» on it goes on there.\nurl: %s\nid: %s\npath: %s\n",
		size(out.MaxBytes), out.Expires.UTC().Format(time.RFC3339), out.Command, out.URL, out.ID, out.Path)
	return answer[createUploadOutput]{text: said, data: out}, nil
}

func (e *endpoint) createDownload(ctx context.Context, r request, in createDownloadInput) (answer[createDownloadOutput], error) {
	link, err := e.cfg.Pods.CreateDownload(ctx, r.actor, in.Name, in.Path)
	if err != nil {
		return answer[createDownloadOutput]{}, err
	}
	url := e.cfg.Issuer + web.DownloadPath + link.Secret
	out := createDownloadOutput{URL: url, Command: "curl -fsS -OJ '" + url + "'", Path: link.Path, Folder: link.Folder, Bytes: link.Size, Expires: link.Expires}
	what := size(out.Bytes)
	if out.Folder {
		what = "a tar.gz of the folder"
	}
	said := fmt.Sprintf("Fetch it (%s) once, until %s, with:\n%s\nurl: %s\npath: %s\n", what, out.Expires.UTC().Format(time.RFC3339), out.Command, out.URL, out.Path)
	return answer[createDownloadOutput]{text: said, data: out}, nil
}
