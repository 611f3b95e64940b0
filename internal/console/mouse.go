package console

// click does what a press of the mouse does: on a tab it opens that, on a row it points at it, and on the row that is
// pointed at it goes into it.
func (m *model) click(c clickMsg) []effect {
	if m.help || m.asking != nil || m.typing != nil || m.width < leastWidth || m.height < leastHeight {
		return nil
	}
	if c.y == tabLine {
		return m.clickTab(c.x)
	}
	s := m.top()
	if s.page == nil || len(s.page.Lines) > 0 {
		return nil
	}
	row := c.y - len(m.frame()) - len(m.above()) - 1 + s.top // below the titles
	if row < s.top || row >= min(s.top+m.room(), len(s.page.Rows)) {
		return nil
	}
	if row == s.row && s.moved {
		effects, _ := m.navigate("enter")
		return effects
	}
	s.row, s.moved = row, true
	return nil
}

// tabLine is where the tabs are.
const tabLine = 1

func (m *model) clickTab(x int) []effect {
	for i, cell := range m.frame()[tabLine] {
		width := (Line{cell}).width()
		if x < width {
			return m.open(Screen{Kind: Kind(i)}, true)
		}
		x -= width
	}
	return nil
}
