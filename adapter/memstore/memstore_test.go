package memstore_test

import (
	"testing"

	"github.com/refreshd/refreshd/adapter/memstore"
	"github.com/refreshd/refreshd/port"
	"github.com/refreshd/refreshd/test/storagetest"
)

func TestConformance(t *testing.T) {
	storagetest.Run(t, func(*testing.T) func() port.Store {
		s := memstore.New()
		return func() port.Store { return s }
	})
}
