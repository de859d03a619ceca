package ui_test

import (
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"podgate/ui/page"
)

// palettes reads the colour variables of the stylesheet: light, and dark laid
// over it as the browser does.
func palettes(t *testing.T) (css string, light, dark map[string][3]float64) {
	t.Helper()
	raw, err := page.Stylesheet()
	if err != nil {
		t.Fatal(err)
	}
	css = string(raw)
	blocks := regexp.MustCompile(`(?s):root \{(.*?)\n\s*\}`).FindAllStringSubmatch(css, -1)
	if len(blocks) != 2 {
		t.Fatalf("%d blocks of variables, want light and dark", len(blocks))
	}
	light, dark = map[string][3]float64{}, map[string][3]float64{}
	for i, b := range blocks {
		for _, v := range regexp.MustCompile(`--([a-z-]+):\s*#([0-9a-f]{6});`).FindAllStringSubmatch(b[1], -1) {
			n, err := strconv.ParseUint(v[2], 16, 32)
			if err != nil {
				t.Fatal(err)
			}
			c := [3]float64{float64(n >> 16), float64(n >> 8 & 255), float64(n & 255)}
			if i == 0 {
				light[v[1]] = c
			}
			dark[v[1]] = c
		}
	}
	return css, light, dark
}

// contrast is the ratio of WCAG 2.2, 1.4.3.
func contrast(a, b [3]float64) float64 {
	x, y := luminance(a), luminance(b)
	return (max(x, y) + 0.05) / (min(x, y) + 0.05)
}

func luminance(c [3]float64) float64 {
	var lin [3]float64
	for i, v := range c {
		if v /= 255; v <= 0.04045 {
			lin[i] = v / 12.92
		} else {
			lin[i] = math.Pow((v+0.055)/1.055, 2.4)
		}
	}
	return 0.2126*lin[0] + 0.7152*lin[1] + 0.0722*lin[2]
}

func TestContrast(t *testing.T) {
	t.Parallel()
	_, light, dark := palettes(t)
	if c := contrast([3]float64{0, 0, 0}, [3]float64{255, 255, 255}); math.Abs(c-21) > 0.01 {
		t.Fatalf("black on white is %.2f, want 21", c)
	}
	text := map[string][]string{ // what is written on what
		"text": {"page", "card", "sunk", "tint"}, "soft": {"page", "card", "sunk", "tint"}, "accent": {"page", "card", "sunk", "tint"},
		"on-accent": {"accent"}, "good": {"card", "page"}, "bad": {"card", "page", "bad-tint"}, "warn": {"card", "page", "warn-tint"},
		"blue": {"card"}, "violet": {"card"},
	}
	shapes := map[string][]string{"edge": {"card", "page"}, "accent": {"card", "page"}, "bad": {"card"}} // borders that mean something
	for scheme, p := range map[string]map[string][3]float64{"light": light, "dark": dark} {
		check := func(pairs map[string][]string, least float64) {
			for fg, grounds := range pairs {
				for _, bg := range grounds {
					a, ok := p[fg]
					b, ok2 := p[bg]
					if !ok || !ok2 {
						t.Fatalf("%s: no colour %s or %s", scheme, fg, bg)
					}
					if c := contrast(a, b); c < least {
						t.Errorf("%s: %s on %s has a contrast of %.2f, want %.1f", scheme, fg, bg, c, least)
					}
				}
			}
		}
		check(text, 4.5)
		check(shapes, 3)
	}
}

// A colour outside the variables would escape the test above.
func TestColoursAreVariables(t *testing.T) {
	t.Parallel()
	css, light, dark := palettes(t)
	rest := regexp.MustCompile(`(?s):root \{.*?\n\s*\}`).ReplaceAllString(css, "")
	if found := regexp.MustCompile(`#[0-9a-fA-F]{3,8}\b|rgba?\(|hsla?\(|oklch\(`).FindAllString(rest, -1); len(found) > 0 {
		t.Errorf("colours that are not variables: %q", found)
	}
	for _, v := range regexp.MustCompile(`var\(--([a-z-]+)\)`).FindAllStringSubmatch(css, -1) {
		if _, ok := light[v[1]]; !ok {
			t.Errorf("var(--%s) is not defined", v[1])
		}
	}
	if len(dark) != len(light) {
		t.Errorf("%d light and %d dark colours", len(light), len(dark))
	}
	if strings.Contains(css, "url(") || strings.Contains(css, "@import") {
		t.Error("the stylesheet loads something")
	}
}
