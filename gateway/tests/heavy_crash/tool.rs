//! Programs beside the node: a stock client, `tail`, `send`. What they print goes to files that the tests watch.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::process::LOOK_PAUSE;

/// A program that runs; dropped, it is killed by its own process id.
pub(crate) struct Tool {
    child: Child,
    name: &'static str,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Tool {
    /// Starts `command`; its output goes to `directory`/`name`.out and .err.
    pub(crate) fn spawn(name: &'static str, directory: &Path, command: &mut Command) -> Self {
        let path = |ending: &str| directory.join(format!("{name}.{ending}"));
        let (stdout, stderr) = (path("out"), path("err"));
        let file = |path: &Path| std::fs::File::create(path).expect("a file for its output");
        let child = command.stdin(Stdio::null()).stdout(file(&stdout)).stderr(file(&stderr)).spawn();
        Self { child: child.expect("the program starts"), name, stdout, stderr }
    }

    /// What it printed so far: standard output, standard error.
    pub(crate) fn printed(&self) -> (String, String) {
        let read = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
        (read(&self.stdout), read(&self.stderr))
    }

    /// Waits until it has printed a whole line, on either way out, that `wanted` says yes to; returns the line.
    pub(crate) async fn wait_for_line(&mut self, what: &str, limit: Duration, wanted: impl Fn(&str) -> bool) -> String {
        let until = Instant::now() + limit;
        loop {
            let ended = self.child.try_wait().expect("a child of ours can be waited for");
            let (stdout, stderr) = self.printed();
            let whole =
                stdout.split_inclusive('\n').chain(stderr.split_inclusive('\n')).filter(|line| line.ends_with('\n'));
            if let Some(line) = whole.map(str::trim_end).find(|line| wanted(line)) {
                return line.to_owned();
            }
            let told = || format!("it printed:\n{stdout}\n{stderr}");
            assert!(ended.is_none(), "{} ended without {what}; {}", self.name, told());
            assert!(Instant::now() < until, "{} did not print {what} within {limit:?}; {}", self.name, told());
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    }

    /// Waits for its end.
    pub(crate) async fn wait_exit(&mut self, limit: Duration) -> ExitStatus {
        let until = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child of ours can be waited for") {
                return status;
            }
            assert!(Instant::now() < until, "{} did not end within {limit:?}: {:?}", self.name, self.printed());
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
