package ui_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"image"
	"image/png"
	"math"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	cdppage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"podgate/internal/webtest"
	"podgate/store"
	"podgate/ui/page"
	"podgate/ui/pagetest"
)

var updateIcons = flag.Bool("update-icons", false, "draw the icons of the manifest anew from icon.svg")

const assets = "page/assets/"

// bitmaps are the icons that are no drawing: Android cuts a maskable one to its own
// shape, and iOS rounds its own and shows transparency as black, so these two reach
// the edges.
var bitmaps = []struct {
	file  string
	size  int
	edges bool
}{{"icon-192.png", 192, false}, {"icon-512.png", 512, false}, {"icon-mask.png", 512, true}, {"icon-apple.png", 180, true}}

// The bitmaps are what icon.svg looks like in those sizes.
func TestIconsAreTheDrawing(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile(assets + "icon.svg")
	if err != nil {
		t.Fatal(err)
	}
	browser := webtest.StartChromium(t)
	for _, b := range bitmaps {
		svg := string(raw)
		if b.edges {
			svg = strings.Replace(svg, ` rx="9"`, "", 1)
			if svg == string(raw) {
				t.Fatal("icon.svg has no rounded ground any more")
			}
		}
		drawn := draw(t, browser, svg, b.size)
		if *updateIcons {
			if err := os.WriteFile(assets+b.file, drawn, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		kept, err := os.ReadFile(assets + b.file)
		if err != nil {
			t.Fatal(err)
		}
		if len(kept) > 24<<10 {
			t.Errorf("%s has %d bytes", b.file, len(kept))
		}
		if d := difference(t, decode(t, kept), decode(t, drawn)); d > 1 {
			t.Errorf("%s differs from icon.svg by %.2f of 255; draw it anew with -update-icons", b.file, d)
		}
	}
}

// draw renders an SVG on nothing, in pixels of the given size.
func draw(t *testing.T, browser context.Context, svg string, size int) []byte {
	t.Helper()
	tab := pagetest.NewTab(t, browser, "")
	page := fmt.Sprintf(`<body style="margin:0"><img style="display:block" width="%d" height="%d" src="data:image/svg+xml;base64,%s">`, size, size, base64.StdEncoding.EncodeToString([]byte(svg)))
	tab.Do(chromedp.EmulateViewport(int64(size), int64(size)), chromedp.Navigate("data:text/html;base64,"+base64.StdEncoding.EncodeToString([]byte(page))))
	if _, err := chromedp.Call(tab.Ctx, emulation.SetDefaultBackgroundColorOverride, emulation.SetDefaultBackgroundColorOverrideParams{Color: &cdp.RGBA{}}); err != nil {
		t.Fatal(err)
	}
	shot, err := chromedp.Call(tab.Ctx, cdppage.CaptureScreenshot, cdppage.CaptureScreenshotParams{Format: cdppage.CaptureScreenshotFormatPng})
	if err != nil {
		t.Fatal(err)
	}
	return packed(t, decode(t, shot.Data))
}

func decode(t *testing.T, raw []byte) image.Image {
	t.Helper()
	m, err := png.Decode(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func packed(t *testing.T, m image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&b, m); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// difference is the mean of how far apart the pixels of two images are; 255 when the
// sizes differ.
func difference(t *testing.T, a, b image.Image) float64 {
	t.Helper()
	if a.Bounds() != b.Bounds() {
		return 255
	}
	sum := 0.0
	for y := range a.Bounds().Dy() {
		for x := range a.Bounds().Dx() {
			r1, g1, b1, a1 := a.At(x, y).RGBA()
			r2, g2, b2, a2 := b.At(x, y).RGBA()
			for _, d := range []float64{float64(r1) - float64(r2), float64(g1) - float64(g2), float64(b1) - float64(b2), float64(a1) - float64(a2)} {
				sum += math.Abs(d)
			}
		}
	}
	return sum / 257 / 4 / float64(a.Bounds().Dx()*a.Bounds().Dy())
}

// Chromium reads the manifest without a fault and would install the pages; the icons
// have the sizes that it says.
func TestInstallable(t *testing.T) {
	t.Parallel()
	s := pagetest.New(t)
	browser := webtest.StartChromium(t)
	tab := pagetest.NewTab(t, browser, s.Issuer())
	tab.Open("/")
	got, err := chromedp.Call(tab.Ctx, cdppage.GetAppManifest, cdppage.GetAppManifestParams{})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range got.Errors {
		t.Errorf("line %d: %s", e.Line, e.Message)
	}
	faults, err := chromedp.Call(tab.Ctx, cdppage.GetInstallabilityErrors, cdp.Empty{})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range faults.InstallabilityErrors {
		if e.ErrorID != "in-incognito" { // as every tab of a test is
			t.Errorf("it cannot be installed: %s %v", e.ErrorID, e.ErrorArguments)
		}
	}
	var m struct {
		Icons []struct{ Src, Sizes, Type, Purpose string }
	}
	if err := json.Unmarshal([]byte(got.Data), &m); err != nil || len(m.Icons) != 4 {
		t.Fatalf("%v %s", err, got.Data)
	}
	for _, i := range m.Icons {
		res, err := http.Get(s.URL + i.Src)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if res.StatusCode != 200 || res.Header.Get("Content-Type") != i.Type {
			t.Errorf("%s: %d %s", i.Src, res.StatusCode, res.Header.Get("Content-Type"))
		}
		if i.Type != "image/png" {
			continue
		}
		m, err := png.Decode(res.Body)
		if err != nil || fmt.Sprintf("%dx%d", m.Bounds().Dx(), m.Bounds().Dy()) != i.Sizes {
			t.Errorf("%s is not %s: %v", i.Src, i.Sizes, err)
		}
	}
}

// What failed is said by the title, by the icon and to the badge, from the start and
// when it changes while the page is open; the colours around an installed page are
// those of the page.
func TestFailedInTitle(t *testing.T) {
	t.Parallel()
	s := pagetest.New(t)
	tab := pagetest.NewTab(t, webtest.StartChromium(t), s.Issuer())
	area, err := s.UI.NewArea(fstest.MapFS{"templates/failed.html": {Data: []byte(`{{define "content"}}<h1>Pods</h1>{{end}}`)}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	s.Preview = map[string]func(http.ResponseWriter, *http.Request) error{"failed": func(w http.ResponseWriter, r *http.Request) error {
		return area.Render(w, r, page.Plain, http.StatusOK, "failed", page.Frame{Title: "Pods", User: &store.User{}, Failed: 2, Counted: true})
	}}
	tab.Open("/preview/failed")
	look := func(title, icon string) {
		t.Helper()
		if got := pagetest.Ask(tab, chromedp.Evaluate[string]("document.title")); got != title {
			t.Errorf("title %q, want %q", got, title)
		}
		if got := pagetest.Ask(tab, chromedp.Evaluate[string](`document.querySelector("link[rel=icon]").href`)); !strings.Contains(got, icon) {
			t.Errorf("icon %q, want %s", got, icon)
		}
	}
	tell := func(n int) {
		t.Helper()
		tab.Do(chromedp.Evaluate[chromedp.Void](fmt.Sprintf(`document.dispatchEvent(new CustomEvent("podgate:failed", {detail: %d}))`, n)))
	}
	look("(2 failed) Pods · podgate", "/icon-failed.")
	tell(0)
	look("Pods · podgate", "/icon.")
	tell(1)
	look("(1 failed) Pods · podgate", "/icon-failed.")
	_, light, dark := palettes(t)
	for scheme, palette := range map[string]map[string][3]float64{"light": light, "dark": dark} {
		want := palette["page"]
		selector := fmt.Sprintf(`document.querySelector("meta[name=theme-color][media*=%s]").content`, scheme)
		if got := pagetest.Ask(tab, chromedp.Evaluate[string](selector)); got != fmt.Sprintf("#%02x%02x%02x", int(want[0]), int(want[1]), int(want[2])) {
			t.Errorf("%s: the theme is %s and the page %v", scheme, got, want)
		}
	}
}
