//! Reads what a libtest run inside another world printed.

/// The outcome of an inner run.
#[derive(Debug)]
pub struct Verdict {
    pub passed: usize,
    pub failed: Vec<String>,
    /// The closing `test result:` line was seen.
    pub finished: bool,
    text: String,
}

impl Verdict {
    /// Parses everything that came out of the world.
    pub fn read(text: &str) -> Verdict {
        let text = text.replace('\r', "");
        let mut failed: Vec<String> = text
            .lines()
            .filter_map(|line| line.strip_prefix("---- ")?.strip_suffix(" stdout ----"))
            .map(ToOwned::to_owned)
            .collect();
        failed.dedup();
        let closing = text.lines().rev().find(|line| line.contains("test result: "));
        let passed = closing.and_then(|line| line.split(". ").nth(1)?.split(' ').next()?.parse().ok()).unwrap_or(0);
        Verdict { passed, failed, finished: closing.is_some(), text }
    }

    /// Panics with the inner output unless it finished, nothing failed and at least `least` tests ran.
    pub fn must_pass(&self, world: &str, least: usize) {
        let result = self.text.lines().rev().find(|line| line.contains("test result: ")).unwrap_or("no result line");
        println!("{world}: {result}");
        for line in self.text.lines().filter(|line| line.contains("SKIPPED")) {
            println!("{world}: {line}");
        }
        let passed =
            self.finished && self.failed.is_empty() && result.contains("test result: ok.") && self.passed >= least;
        assert!(passed, "{world}: {} passed (at least {least}), failed {:?}\n{}", self.passed, self.failed, self.text);
    }
}
