package mcp

import (
	"context"
	"fmt"

	"github.com/google/jsonschema-go/jsonschema"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"podgate/internal/authz"
	"podgate/internal/text"
)

type deleteFileInput struct {
	Name      string `json:"name" jsonschema:"the pod's name"`
	Path      string `json:"path" jsonschema:"under /home/pod or /tmp, or relative to /home/pod/app; a symlink is deleted itself, not where it leads"`
	Recursive bool   `json:"recursive,omitempty" jsonschema:"true to delete a folder with all that lies in it"`
}

type deleteFileOutput struct {
	Path string `json:"path"`
	Type string `json:"type" jsonschema:"what it was: file, dir, symlink or other"`
}

type moveFileInput struct {
	Name      string `json:"name" jsonschema:"the pod's name"`
	From      string `json:"from" jsonschema:"the file or folder: under /home/pod or /tmp, or relative to /home/pod/app"`
	To        string `json:"to" jsonschema:"its whole new path, the name included; missing folders are made"`
	Overwrite bool   `json:"overwrite,omitempty" jsonschema:"true to replace a file that has the new name"`
}

type moveFileOutput struct {
	From string `json:"from"`
	Path string `json:"path" jsonschema:"where it is now"`
	Type string `json:"type" jsonschema:"file, dir, symlink or other"`
}

// addChangeTools adds the tools that change files which are there.
func (e *endpoint) addChangeTools(s *sdk.Server) {
	add(e, s, tool{
		name: "delete_file", title: "Delete a file", action: authz.WriteFiles, hints: changes(true, false), later: true,
		description: "Deletes a file of a running pod, or a folder with recursive. There is no way back. The app folder itself stays.",
		refine:      func(s *jsonschema.Schema) { podName(s); notEmpty(s, "path") },
	}, e.deleteFile)
	add(e, s, tool{
		name: "move_file", title: "Move a file", action: authz.WriteFiles, hints: changes(true, false), later: true,
		description: "Moves or renames a file or folder in a running pod. What has the new name already is kept, and the call refused, unless overwrite is true; a folder is never replaced.",
		refine:      func(s *jsonschema.Schema) { podName(s); notEmpty(s, "from"); notEmpty(s, "to") },
	}, e.moveFile)
}

func (e *endpoint) deleteFile(ctx context.Context, r request, in deleteFileInput) (answer[deleteFileOutput], error) {
	info, err := e.cfg.Pods.DeleteFile(ctx, r.actor, in.Name, in.Path, in.Recursive)
	if err != nil {
		return answer[deleteFileOutput]{}, err
	}
	out := deleteFileOutput{Path: text.Valid(info.Name), Type: text.Valid(info.Type)}
	return answer[deleteFileOutput]{text: fmt.Sprintf("Deleted %s (%s).", out.Path, out.Type), data: out}, nil
}

func (e *endpoint) moveFile(ctx context.Context, r request, in moveFileInput) (answer[moveFileOutput], error) {
	info, err := e.cfg.Pods.MoveFile(ctx, r.actor, in.Name, in.From, in.To, in.Overwrite)
	if err != nil {
		return answer[moveFileOutput]{}, err
	}
	out := moveFileOutput{From: in.From, Path: text.Valid(info.Name), Type: text.Valid(info.Type)}
	return answer[moveFileOutput]{text: fmt.Sprintf("Moved %s to %s (%s).", out.From, out.Path, out.Type), data: out}, nil
}
