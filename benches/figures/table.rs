//! One table: what was measured, what it is compared with, whether it is good enough.

/// A measured figure.
struct Row {
    name: String,
    measured: String,
    limit: String,
    good: bool,
}

/// Rows in the order of measuring.
#[derive(Default)]
pub struct Table(Vec<Row>);

impl Table {
    /// Adds a figure with its limit in words.
    pub fn add(&mut self, name: &str, measured: String, limit: &str, good: bool) {
        eprintln!("{name}: {measured} (must be {limit})");
        self.0.push(Row { name: name.to_owned(), measured, limit: limit.to_owned(), good });
    }

    /// Adds a figure that must be at most `limit`.
    pub fn at_most(&mut self, name: &str, measured: f64, limit: f64, unit: &str) {
        self.add(name, format!("{measured:.2} {unit}"), &format!("≤ {limit} {unit}"), measured <= limit);
    }

    /// Adds a figure that must be at least `limit`.
    pub fn at_least(&mut self, name: &str, measured: f64, limit: f64, unit: &str) {
        self.add(name, format!("{measured:.2} {unit}"), &format!("≥ {limit} {unit}"), measured >= limit);
    }

    /// Takes over the rows that a run in another world printed.
    pub fn merge(&mut self, world: &str, printed: &str) {
        let before = self.0.len();
        for line in printed.lines() {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            if let [name, measured, limit, verdict @ ("yes" | "NO")] = cells[..] {
                let (measured, limit) = (measured.to_owned(), limit.to_owned());
                self.0.push(Row { name: format!("{world}: {name}"), measured, limit, good: verdict == "yes" });
            }
        }
        if self.0.len() == before {
            eprintln!("nothing was measured in the {world}:\n{printed}");
        }
    }

    /// Figures that were missed.
    pub fn missed(&self) -> usize {
        self.0.iter().filter(|row| !row.good).count()
    }

    /// Prints it as Markdown.
    pub fn print(&self) {
        let width =
            |cell: fn(&Row) -> &str| self.0.iter().map(|row| cell(row).chars().count()).max().unwrap_or(0).max(8);
        let (a, b, c) = (width(|r| &r.name), width(|r| &r.measured), width(|r| &r.limit));
        println!("| {:a$} | {:b$} | {:c$} | ok? |", "what", "measured", "must be");
        println!("|{:-<1$}|{2:-<3$}|{4:-<5$}|-----|", "", a + 2, "", b + 2, "", c + 2);
        for row in &self.0 {
            let verdict = if row.good { "yes" } else { "NO" };
            println!("| {:a$} | {:b$} | {:c$} | {verdict:3} |", row.name, row.measured, row.limit);
        }
    }
}
