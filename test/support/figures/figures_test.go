package figures

import (
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestMedianIsBetweenTheTwoInTheMiddle(t *testing.T) {
	for _, test := range []struct {
		values []float64
		want   float64
	}{
		{[]float64{3}, 3}, {[]float64{3, 1}, 2}, {[]float64{9, 1, 2}, 2}, {[]float64{4, 1, 9, 2}, 3},
	} {
		if got := Median(test.values); got != test.want {
			t.Errorf("Median(%v) = %v, want %v", test.values, got, test.want)
		}
	}
	if got := Median(nil); !math.IsNaN(got) {
		t.Errorf("median of nothing = %v, want no number", got)
	}
}

func TestPercentileIsAValueThatWasSeen(t *testing.T) {
	hundred := make([]int, 100)
	for i := range hundred {
		hundred[i] = i + 1
	}
	for _, test := range []struct {
		sorted []int
		p      float64
		want   int
	}{
		{hundred, .5, 50}, {hundred, .99, 99}, {hundred, 1, 100}, {hundred, 0, 1},
		{[]int{7}, .99, 7}, {[]int{1, 2, 3}, .5, 2}, {nil, .5, 0},
	} {
		if got := Percentile(test.sorted, test.p); got != test.want {
			t.Errorf("Percentile(%d values, %v) = %d, want %d", len(test.sorted), test.p, got, test.want)
		}
	}
}

func TestTableIsMarkdown(t *testing.T) {
	table := NewTable("what", "µs")
	table.Add("a", "1")
	table.Add("longer", "1234")
	want := "| what   |   µs |\n| ------ | ---: |\n| a      |    1 |\n| longer | 1234 |\n"
	if diff := cmp.Diff(want, table.String()); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}
}
