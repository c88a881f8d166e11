//! A disk that is full and is freed again.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::load::{Bite, Load, Size, expect_clean};
use crate::process::{NodeProcess, READY_WITHIN, Settings};

const DISK_BYTES: u64 = 24 * 1024 * 1024;
/// Explicit errors that are waited for while the disk is full.
const ERRORS: u64 = 20;
const WITHIN: Duration = Duration::from_secs(60);

/// A small file system of its own, unmounted when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path) -> Result<Self, String> {
        std::fs::create_dir(at).expect("a directory to mount at");
        let options = format!("size={DISK_BYTES},mode=0700");
        let output = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(at).output();
        match output {
            Ok(output) if output.status.success() => Ok(Self(at.to_owned())),
            Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Writes until nothing more fits.
    fn fill(&self) -> PathBuf {
        let path = self.0.join("ballast");
        let mut file = std::fs::File::create(&path).expect("a file on a disk with room");
        for piece in [vec![1; 64 * 1024], vec![1; 1024]] {
            while file.write_all(&piece).is_ok() {}
        }
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heavy_a_full_disk_is_an_error_and_not_a_loss() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let disk = match SmallDisk::mount(&directory.path().join("disk")) {
        Ok(disk) => disk,
        Err(reason) => {
            println!("SKIPPED: a file system cannot be mounted here ({reason}); run the tests as root");
            return;
        }
    };
    let mut settings = Settings::new(directory.path());
    settings.data_dir = disk.0.join("data");
    let mut node = NodeProcess::spawn_ready(settings).await;
    let size = Size { text_bytes: 512, ..Size::default() };
    let mut load = Load::enter(&node.settings, size).await;
    load.talk(1, Bite::AnyError);
    load.wait_for_acknowledgements(100, WITHIN).await;

    let ballast = disk.fill();
    let began = Instant::now();
    let errors = || load.counters().refused.load(Ordering::Relaxed) + load.counters().unknown.load(Ordering::Relaxed);
    while errors() < ERRORS {
        assert!(began.elapsed() < WITHIN, "a full disk was told {} times only", errors());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    println!("{} errors after {:.1?} on a full disk", errors(), began.elapsed());

    std::fs::remove_file(ballast).expect("the ballast can be removed");
    let began = Instant::now();
    load.wait_for_acknowledgements(100, WITHIN).await;
    println!("100 acknowledgements {:.1?} after the disk was freed", began.elapsed());

    // What was acknowledged around a full disk is there after a crash as well.
    disk.fill();
    tokio::time::sleep(Duration::from_millis(500)).await;
    node.kill9();
    std::fs::remove_file(disk.0.join("ballast")).expect("the ballast can be removed");
    node.start();
    node.wait_ready(READY_WITHIN).await;
    load.wait_for_acknowledgements(50, WITHIN).await;
    let slowest = load.counters().slowest_error_ms.load(Ordering::Relaxed);
    println!("refused or unknown {}, the slowest after {slowest} ms", errors());
    expect_clean(&load.finish().await, "full disk");
}
