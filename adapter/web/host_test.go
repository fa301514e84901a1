package web_test

import (
	"testing"

	"github.com/refreshd/refreshd/adapter/web"
)

// Such a host gets cookies without TLS, and profiles.
func TestIsLoopback(t *testing.T) {
	for host, want := range map[string]bool{
		"localhost": true, "LocalHost:3000": true, "127.0.0.1": true, "127.8.8.8:3000": true, "[::1]:3000": true,
		"[::1]":                 true,
		"[::ffff:127.0.0.1]:80": true,
		"":                      false, ":3000": false, "0.0.0.0:3000": false, "10.0.0.1:3000": false, "[::]:3000": false,
		"auth.example":           false,
		"localhost.example:3000": false, "127.0.0.1.example": false, "127.1": false, "localhost@auth.example": false,
	} {
		if got := web.IsLoopback(host); got != want {
			t.Errorf("%q: got %t, want %t", host, got, want)
		}
	}
}
