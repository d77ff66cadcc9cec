//! Executions that have just ended keep all of their output in memory, for somebody who comes to read it; older ones keep only its end.

use super::output::Output;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// How many keep everything: 64 times 256 KiB are 16 MiB.
const MAX_RECENT: usize = 64;

/// The outputs that ended last.
#[derive(Debug, Default)]
pub(super) struct Recent {
    outputs: Mutex<VecDeque<Weak<Output>>>,
}

impl Recent {
    /// One more has ended; the oldest is recent no longer.
    pub(super) fn add(&self, output: &Arc<Output>) {
        let oldest = {
            let mut outputs = self.outputs.lock().unwrap_or_else(PoisonError::into_inner);
            outputs.push_back(Arc::downgrade(output));
            if outputs.len() > MAX_RECENT { outputs.pop_front() } else { None }
        };
        if let Some(output) = oldest.and_then(|weak| weak.upgrade()) {
            output.settle();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::output::{Selection, Stream};
    use super::*;
    use bytes::Bytes;

    #[test]
    fn a_thousand_finished_executions_cost_32_mib_at_most() {
        let recent = Recent::default();
        let outputs: Vec<Arc<Output>> = (0..1000)
            .map(|_| {
                let output = Arc::new(Output::new(None));
                output.append(Stream::Stdout, Bytes::from(vec![b'x'; 250_000]), 1);
                output.close();
                recent.add(&output);
                output
            })
            .collect();
        assert!(outputs.iter().map(|output| output.in_memory()).sum::<usize>() <= 32 << 20);
        let kept = |output: &Output| output.total() - output.lost();
        assert_eq!(outputs.last().map(|output| kept(output)), Some(250_000));
        let first = outputs.first().expect("first");
        let chunk = first.read(Selection::Both, 0);
        assert_eq!(chunk.lost, first.lost());
        assert!(kept(first) > 10_000 && chunk.lost > 200_000);
    }
}
