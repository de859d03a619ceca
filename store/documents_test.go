package store_test

import (
	"fmt"
	"testing"
	"time"

	"podgate/store"
	"podgate/store/storetest"
)

func document(i int, expires time.Time) store.Client {
	return store.Client{
		ID: store.ClientID(fmt.Sprintf("https://app.example/%d", i)), Name: "App", RedirectURIs: []string{"https://app.example/cb"},
		Created: t0, Expires: expires, Document: &store.Document{Fetched: t0, Fresh: t0.Add(time.Hour)},
	}
}

// A newer copy takes the place of an older one; what keeps the client alive
// stays.
func TestPutDocument(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	first, err := db.PutDocument(document(1, t0.Add(48*time.Hour)), t0)
	wantErr(t, err, nil)
	next := document(1, t0.Add(24*time.Hour))
	next.Name, next.Created, next.Document.Fetched = "New name", t0.Add(time.Hour), t0.Add(time.Hour)
	got, err := db.PutDocument(next, t0)
	wantErr(t, err, nil)
	if got.Name != "New name" || !got.Created.Equal(first.Created) || !got.Expires.Equal(first.Expires) {
		t.Errorf("%+v", got)
	}
	again, err := db.Client(got.ID)
	if err != nil || again.Name != "New name" || !again.Document.Fetched.Equal(t0.Add(time.Hour)) {
		t.Errorf("%+v, %v", again, err)
	}
	wantErr(t, db.MarkDocumentGone(got.ID), nil)
	if c, err := db.Client(got.ID); err != nil || !c.Document.Gone || c.Name != "New name" {
		t.Errorf("%+v, %v", c, err)
	}
	wantErr(t, db.MarkDocumentGone("https://app.example/absent"), store.ErrNotFound)
	w := storetest.Populate(t, db, "ada", t0)
	wantErr(t, db.MarkDocumentGone(w.Client.ID), store.ErrNotFound)
}

// Documents are swept like other clients that nobody needs.
func TestDocumentsAreSwept(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	c, err := db.PutDocument(document(1, t0.Add(store.ClientUnusedTTL)), t0)
	wantErr(t, err, nil)
	_, err = db.Sweep(t.Context(), c.Expires)
	wantErr(t, err, nil)
	_, err = db.Client(c.ID)
	wantErr(t, err, store.ErrNotFound)
}

// The store keeps so many documents and no more. The one that would be swept
// next gives way, but never one with a connection.
func TestDocumentsAreBounded(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	w := storetest.Populate(t, db, "ada", t0)
	w.Client = document(0, t0.Add(time.Minute)) // the next to be swept, connected as it is
	_, err := db.PutDocument(w.Client, t0)
	wantErr(t, err, nil)
	_, token := w.Connect(t, db, read)
	for i := 1; i <= store.MaxDocuments+5; i++ {
		_, err := db.PutDocument(document(i, t0.Add(365*24*time.Hour+time.Duration(i)*time.Second)), t0)
		wantErr(t, err, nil)
	}
	kept := 0
	for i := range store.MaxDocuments + 6 {
		_, err := db.Client(document(i, t0).ID)
		if err == nil {
			kept++
		}
		if gone := i >= 1 && i <= 6; gone != (err != nil) {
			t.Errorf("document %d: %v", i, err)
		}
	}
	if kept != store.MaxDocuments {
		t.Errorf("%d documents are kept", kept)
	}
	if _, err := db.Access(token, t0); err != nil {
		t.Errorf("a connection was lost: %v", err)
	}
	if _, err := db.Client(storetest.Populate(t, db, "bob", t0).Client.ID); err != nil {
		t.Errorf("a client that registered: %v", err)
	}
}
