package flow_test

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// The language of the cases' functions: x, x*2, x mod 3 == 0, [x,-x], and literals such as
// [(1,a),(2,b)]. A tuple is a list, a bare word a string.

// expression parses the source of a function of x.
func expression(source string) (func(x any) any, error) {
	p := &parser{tokens: tokens.FindAllString(strings.TrimPrefix(source, "x -> "), -1)}
	f, err := p.comparison()
	if err == nil && p.peek() != "" {
		err = fmt.Errorf("%q: unexpected %q", source, p.peek())
	}
	return f, err
}

var tokens = regexp.MustCompile(`\d+|\w+|[=!<>]=|[^\s]`)

type parser struct{ tokens []string }

func (p *parser) peek() string {
	if len(p.tokens) == 0 {
		return ""
	}
	return p.tokens[0]
}

func (p *parser) next() string {
	t := p.peek()
	if t != "" {
		p.tokens = p.tokens[1:]
	}
	return t
}

func (p *parser) comparison() (func(any) any, error) {
	return p.binary([]string{"==", "!=", "<=", ">=", "<", ">"}, func() (func(any) any, error) {
		return p.binary([]string{"+", "-"}, func() (func(any) any, error) {
			return p.binary([]string{"*", "mod", "rem", "div", "%"}, p.operand)
		})
	})
}

func (p *parser) binary(operators []string, operand func() (func(any) any, error)) (func(any) any, error) {
	left, err := operand()
	for err == nil && slices.Contains(operators, p.peek()) {
		operator, a := p.next(), left
		var b func(any) any
		b, err = operand()
		left = func(x any) any { return operate(operator, a(x), b(x)) }
	}
	return left, err
}

func operate(operator string, a, b any) any {
	switch operator {
	case "==":
		return canonical(a) == canonical(b)
	case "!=":
		return canonical(a) != canonical(b)
	}
	m, n := a.(int), b.(int)
	switch operator {
	case "+":
		return m + n
	case "-":
		return m - n
	case "*":
		return m * n
	case "mod":
		return ((m % n) + n) % n
	case "rem", "%":
		return m % n
	case "div":
		return m / n
	case "<=":
		return m <= n
	case ">=":
		return m >= n
	case "<":
		return m < n
	default:
		return m > n
	}
}

func (p *parser) operand() (func(any) any, error) {
	switch t := p.next(); {
	case t == "x":
		return func(x any) any { return x }, nil
	case t == "-":
		f, err := p.operand()
		return func(x any) any { return -f(x).(int) }, err
	case t == "[":
		return p.list("]")
	case t == "(":
		f, err := p.list(")")
		return f, err
	case t != "" && t[0] >= '0' && t[0] <= '9':
		n, err := strconv.Atoi(t)
		return func(any) any { return n }, err
	case regexp.MustCompile(`^\w+$`).MatchString(t):
		return func(any) any { return t }, nil
	default:
		return nil, fmt.Errorf("unexpected %q", t)
	}
}

// list parses what follows an opening bracket. One value in parentheses is that value.
func (p *parser) list(closing string) (func(any) any, error) {
	var parts []func(any) any
	for p.peek() != closing {
		f, err := p.comparison()
		if err != nil {
			return nil, err
		}
		parts = append(parts, f)
		if p.peek() == "," {
			p.next()
		} else if p.peek() != closing {
			return nil, fmt.Errorf("unexpected %q in a list", p.peek())
		}
	}
	p.next()
	if closing == ")" && len(parts) == 1 {
		return parts[0], nil
	}
	return func(x any) any {
		list := []any{}
		for _, f := range parts {
			list = append(list, f(x))
		}
		return list
	}, nil
}

// canonical makes values comparable: as JSON, whose maps are sorted.
func canonical(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// whole turns the numbers of decoded JSON into ints.
func whole(v any) any {
	switch v := v.(type) {
	case float64:
		return int(v)
	case []any:
		list := []any{}
		for _, e := range v {
			list = append(list, whole(e))
		}
		return list
	case map[string]any:
		m := map[string]any{}
		for k, e := range v {
			m[k] = whole(e)
		}
		return m
	default:
		return v
	}
}
