package mcp

import (
	"context"
	"fmt"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"podgate/internal/authz"
	"podgate/internal/text"
	"podgate/pods"
)

type editFileInput struct {
	Name string `json:"name" jsonschema:"the pod's name"`
	Path string `json:"path" jsonschema:"a text file: under /home/pod or /tmp, or relative to /home/pod/app"`
	Old  string `json:"old" jsonschema:"the piece to replace, exactly as it stands in the file, with spaces and line ends; with enough around it that it stands there once"`
	New  string `json:"new" jsonschema:"what takes its place; may be empty"`
	All  bool   `json:"all,omitempty" jsonschema:"true to replace every place where old stands"`
}

type editFileOutput struct {
	Path     string `json:"path"`
	Bytes    int64  `json:"bytes" jsonschema:"of the whole file now"`
	Replaced int    `json:"replaced" jsonschema:"in how many places"`
	Lines    []int  `json:"lines" jsonschema:"the lines where the new pieces begin, at most 20 of them"`
}

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
		name: "edit_file", title: "Edit a file", action: authz.WriteFiles, hints: changes(true, false), later: true,
		description: "Replaces an exact piece of a text file in a running pod; the rest of the file stays as it is. A piece that stands nowhere, or in several places without all, is an error that says on which lines, and changes nothing. Afterwards use manage_pod with action reload for the app to see it.",
		refine: func(s *jsonschema.Schema) {
			podName(s)
			notEmpty(s, "path")
			notEmpty(s, "old")
			longest(s, "old", pods.MaxPiece)
			longest(s, "new", pods.MaxPiece)
		},
	}, e.editFile)
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

func (e *endpoint) editFile(ctx context.Context, r request, in editFileInput) (answer[editFileOutput], error) {
	done, err := e.cfg.Pods.EditFile(ctx, r.actor, in.Name, in.Path, in.Old, in.New, in.All)
	if err != nil {
		return answer[editFileOutput]{}, err
	}
	out := editFileOutput{Path: text.Valid(done.Name), Bytes: done.Size, Replaced: done.Replaced, Lines: done.Lines[:min(len(done.Lines), 20)]}
	said := fmt.Sprintf("Edited %s: replaced %d piece(s), beginning on line(s) %s. The file has %s now.", out.Path, out.Replaced, strings.Trim(fmt.Sprint(out.Lines), "[]"), size(out.Bytes))
	return answer[editFileOutput]{text: said, data: out}, nil
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
