//! Plain aligned tables that never exceed their width. Pure.

use super::terminal::{Terminal, Tone};

/// Where a column's text goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// A column heading and its alignment.
pub type Column = (&'static str, Align);

/// A cell: text, and a tone where it matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    text: String,
    tone: Option<Tone>,
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self { text, tone: None }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self { text: text.to_owned(), tone: None }
    }
}

impl Cell {
    /// A cell in a tone.
    pub fn toned(text: impl Into<String>, tone: Tone) -> Self {
        Self { text: text.into(), tone: Some(tone) }
    }
}

/// Lays rows out under their headings, two spaces between columns. When the width does not suffice, the last column is
/// cut with `…`; a row never takes two lines. Trailing spaces are left out.
pub fn render(columns: &[Column], rows: &[Vec<Cell>], terminal: Terminal, max_width: usize) -> String {
    let mut widths: Vec<usize> = columns.iter().map(|(heading, _)| heading.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.text.chars().count());
        }
    }
    fit(&mut widths, max_width);
    let heading: Vec<Cell> = columns.iter().map(|(heading, _)| Cell::toned(*heading, Tone::Strong)).collect();
    let mut out = String::new();
    for row in std::iter::once(&heading).chain(rows) {
        out.push_str(&line(columns, &widths, row, terminal));
        out.push('\n');
    }
    out
}

/// Takes what is too much from the last column, down to its last few characters.
fn fit(widths: &mut [usize], max_width: usize) {
    const LEAST: usize = 4;
    let total: usize = widths.iter().sum::<usize>() + 2 * widths.len().saturating_sub(1);
    if let Some(last) = widths.last_mut() {
        *last = last.saturating_sub(total.saturating_sub(max_width)).max((*last).min(LEAST));
    }
}

fn line(columns: &[Column], widths: &[usize], row: &[Cell], terminal: Terminal) -> String {
    let mut out = String::new();
    let last = row.len().saturating_sub(1);
    for (index, ((cell, width), (_, align))) in row.iter().zip(widths).zip(columns).enumerate() {
        let text = cut(&cell.text, *width);
        let padding = " ".repeat(width.saturating_sub(text.chars().count()));
        let painted = cell.tone.map_or_else(|| text.clone(), |tone| terminal.paint(tone, &text));
        match align {
            Align::Left if index == last => out.push_str(&painted),
            Align::Left => out.push_str(&format!("{painted}{padding}")),
            Align::Right => out.push_str(&format!("{padding}{painted}")),
        }
        if index != last {
            out.push_str("  ");
        }
    }
    let kept = out.trim_end().len();
    out.truncate(kept);
    out
}

/// Text of at most `width` characters, with `…` where something was left out.
pub fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(width.saturating_sub(1)).collect();
    if width > 0 {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const COLUMNS: [Column; 3] = [("NAME", Align::Left), ("N", Align::Right), ("NOTE", Align::Left)];

    #[test]
    fn columns_line_up_and_the_last_is_cut() {
        let rows = vec![
            vec!["a".into(), "10".into(), "short".into()],
            vec!["bcdef".into(), "7".into(), "much too long".into()],
        ];
        let text = render(&COLUMNS, &rows, Terminal::PLAIN, 20);
        assert_eq!(text, "NAME    N  NOTE\na      10  short\nbcdef   7  much too…\n");
    }

    #[test]
    fn colours_do_not_disturb_the_columns() {
        let colour = Terminal { colour: true, ..Terminal::PLAIN };
        let rows = vec![vec![Cell::toned("a", Tone::Bad), "1".into(), "x".into()]];
        let text = render(&COLUMNS, &rows, colour, 80);
        assert!(text.ends_with("\x1b[31ma\x1b[0m     1  x\n"), "{text:?}");
    }

    proptest! {
        #[test]
        fn no_line_is_wider_than_asked(cells in proptest::collection::vec("[a-zäö ]{0,30}", 0..12), width in 12_usize..90) {
            let columns = [("A", Align::Left), ("B", Align::Left)];
            let rows: Vec<Vec<Cell>> = cells.iter().map(|text| vec!["xy".into(), text.as_str().into()]).collect();
            for line in render(&columns, &rows, Terminal::PLAIN, width).lines() {
                prop_assert!(line.chars().count() <= width);
            }
        }
    }
}
