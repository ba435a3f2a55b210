//! Columns that line up. Control characters in cells are made harmless.

use crate::path::Show;
use std::fmt;

/// Which side of its column a cell keeps to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Right,
}

/// A table for people.
pub(super) struct Table {
    aligns: Vec<Align>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// With these columns.
    pub(super) fn new(columns: &[(&str, Align)]) -> Table {
        let heads = columns.iter().map(|(head, _)| (*head).to_owned()).collect();
        Table { aligns: columns.iter().map(|(_, align)| *align).collect(), rows: vec![heads] }
    }

    /// Adds a row.
    pub(super) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.iter().map(|cell| Show(cell.as_bytes()).to_string()).collect());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |column: usize| self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..self.aligns.len()).map(width).collect();
        for row in &self.rows {
            let mut line = String::new();
            for ((cell, width), align) in row.iter().zip(&widths).zip(&self.aligns) {
                let gap = " ".repeat(width - cell.chars().count());
                match align {
                    Align::Left => line += &format!("{cell}{gap}  "),
                    Align::Right => line += &format!("{gap}{cell}  "),
                }
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(&[("A", Align::Left), ("N", Align::Right), ("Z", Align::Left)]);
        table.row(["ä\n".to_owned(), "1,000".to_owned(), String::new()]);
        table.row(["x".to_owned(), "7".to_owned(), "end".to_owned()]);
        assert_eq!(table.to_string(), "A        N  Z\nä\\n  1,000\nx        7  end\n");
    }
}
