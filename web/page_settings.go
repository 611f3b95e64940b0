package web

import (
	"context"
	"net/url"
	"time"
)

// settingsKept is how long a browser keeps them.
const settingsKept = 365 * 24 * time.Hour

func (h *Handler) settingsPage(ctx context.Context, v *visit) (*page, error) {
	_, _ = v.look(ctx) // the page has nothing of it
	zones := []string{"local", "UTC", "Europe/London", "Europe/Berlin", "America/New_York", "America/Chicago", "America/Los_Angeles", "America/Sao_Paulo", "Asia/Kolkata", "Asia/Singapore", "Asia/Tokyo", "Australia/Sydney"}
	return &page{title: "Settings", section: "Settings", template: "settings", data: map[string]any{"Zones": zones, "Permissions": v.permissions()}, ended: true}, nil
}

// permissions are those of whoever looks.
func (v *visit) permissions() (all []Permission) {
	for _, p := range Permissions() {
		if v.h.may(v.user, p) {
			all = append(all, p)
		}
	}
	return all
}

// changeSettings keeps what a form says in the browser's cookies.
func (h *Handler) changeSettings(_ context.Context, v *visit) (*notice, error) {
	for field, name := range map[string]string{"theme": cookieTheme, "zone": cookieZone, "density": cookieDensity} {
		value, given := v.r.PostForm[field]
		if !given {
			continue
		}
		if field == "zone" && value[0] != "local" {
			if _, err := time.LoadLocation(value[0]); err != nil {
				return &notice{Kind: "error", Text: "There is no zone called " + value[0] + "."}, nil //nolint:nilerr // which the notice says
			}
		}
		v.setCookie(name, url.QueryEscape(value[0]), settingsKept)
	}
	return &notice{}, nil
}
