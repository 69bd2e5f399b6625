package compare

import "strconv"

// count writes n with a comma between thousands.
func count(n int) string {
	digits := strconv.Itoa(n)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// plural is n of something.
func plural(n int, of string) string {
	if n == 1 {
		return "1 " + of
	}
	return count(n) + " " + of + "s"
}

// took writes milliseconds, as seconds where they are many.
func took(ms float64) string {
	if ms < 1000 {
		return digits(ms) + " ms"
	}
	return seconds(ms / 1000)
}

func seconds(s float64) string {
	if s >= 100 {
		return count(int(s)) + " s"
	}
	return strconv.FormatFloat(s, 'f', 1, 64) + " s"
}

// times writes 50th and 99th percentiles.
func times(l Latency) string {
	if l.P99 < 1000 {
		return digits(l.P50) + "/" + digits(l.P99) + " ms"
	}
	return took(l.P50) + "/" + took(l.P99)
}

func digits(ms float64) string {
	if ms < 10 {
		return strconv.FormatFloat(ms, 'f', 1, 64)
	}
	return strconv.FormatFloat(ms, 'f', 0, 64)
}

// percent writes a part of a whole, and only all of it as 100 %.
func percent(part, of int) string {
	if part >= of {
		return "100 %"
	}
	return strconv.Itoa(part*100/of) + " %"
}

// ratio writes how many a unit, and how many times as much.
func ratio(a, b float64) string {
	if b == 0 {
		return "0"
	}
	if a/b >= 10 {
		return strconv.FormatFloat(a/b, 'f', 0, 64)
	}
	return strconv.FormatFloat(a/b, 'f', 1, 64)
}
