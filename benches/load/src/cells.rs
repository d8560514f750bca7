//! A table, as text and as Markdown.

use std::fmt::Write as _;

pub(crate) struct Table {
    pub(crate) title: String,
    pub(crate) head: Vec<&'static str>,
    pub(crate) rows: Vec<Vec<String>>,
}

impl Table {
    /// Columns as wide as they must be.
    pub(crate) fn text(&self) -> String {
        let head = self.head.iter().map(ToString::to_string).collect();
        let lines = || std::iter::once(&head).chain(&self.rows);
        let widths: Vec<usize> = (0..self.head.len())
            .map(|column| lines().map(|cells: &Vec<String>| cells[column].chars().count()).max().unwrap_or(0))
            .collect();
        let mut text = format!("\n{}\n", self.title);
        for cells in lines() {
            for (index, (cell, width)) in cells.iter().zip(&widths).enumerate() {
                let _ = if index == 0 {
                    write!(text, "  {cell:<width$}")
                } else {
                    write!(text, "  {cell:>width$}")
                };
            }
            text.push('\n');
        }
        text
    }

    /// For the README.
    pub(crate) fn markdown(&self) -> String {
        let mut text = format!("**{}**\n\n| {} |\n", self.title, self.head.join(" | "));
        let _ = writeln!(text, "|---|{}", "---:|".repeat(self.head.len() - 1));
        for row in &self.rows {
            let _ = writeln!(text, "| {} |", row.join(" | "));
        }
        text.push('\n');
        text
    }
}
