//! Columns of text, each as wide as what is in it.

use super::render::Colours;

/// As much of a digest as is needed to tell two apart.
pub(crate) fn short_digest(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}

/// On which side the cells of a column are flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Left,
    Right,
}

/// What a cell should make its reader feel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    Plain,
    Good,
    Passing,
    Bad,
}

/// One text in a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) text: String,
    pub(crate) tone: Tone,
}

impl Cell {
    pub(crate) fn plain(text: impl ToString) -> Self {
        Self { text: text.to_string(), tone: Tone::Plain }
    }

    /// What is not there, or not known.
    pub(crate) fn nothing() -> Self {
        Self::plain("-")
    }

    pub(crate) fn optional(text: Option<impl ToString>) -> Self {
        text.map_or_else(Self::nothing, Self::plain)
    }
}

/// The table with its head, a line for each row.
pub(crate) fn table<const N: usize>(
    columns: [(&str, Side); N],
    rows: &[[Cell; N]],
    colours: Colours,
) -> String {
    let widths: [usize; N] = core::array::from_fn(|column| {
        let cells = rows.iter().map(|row| row[column].text.chars().count());
        cells.chain([columns[column].0.len()]).max().unwrap_or_default()
    });
    let line = |cells: [(&str, Tone); N]| {
        let mut line = String::new();
        for (column, (text, tone)) in cells.into_iter().enumerate() {
            let space = " ".repeat(widths[column] - text.chars().count());
            // Painted without its padding, and nothing after the last text.
            let text = paint(colours, tone, text);
            line += &match columns[column].1 {
                Side::Left if column + 1 == N => text,
                Side::Left => text + &space,
                Side::Right => space + &text,
            };
            line += if column + 1 == N { "\n" } else { "  " };
        }
        line
    };
    let head = colours.faint(&line(columns.map(|(name, _)| (name, Tone::Plain)))).into_owned();
    let rows = rows.iter().map(|row| line(row.each_ref().map(|cell| (cell.text.as_str(), cell.tone))));
    [head].into_iter().chain(rows).collect()
}

fn paint(colours: Colours, tone: Tone, text: &str) -> String {
    match tone {
        Tone::Plain => text.into(),
        Tone::Good => colours.good(text).into_owned(),
        Tone::Passing => colours.passing(text).into_owned(),
        Tone::Bad => colours.bad(text).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let bad = |text: &str| Cell { text: text.into(), tone: Tone::Bad };
        let rows = [
            [Cell::plain(7), bad("é"), Cell::nothing()],
            [Cell::plain(12345), bad("long"), Cell::plain("x")],
        ];
        let columns = [("slot", Side::Right), ("phase", Side::Left), ("last", Side::Left)];
        let plain = table(columns, &rows, Colours::File);
        assert_eq!(plain, " slot  phase  last\n    7  é      -\n12345  long   x\n");
        let colourful = table(columns, &rows, Colours::Colourful);
        assert!(colourful.contains("\x1b[31mé\x1b[0m      -\n"), "{colourful:?}");
    }
}
