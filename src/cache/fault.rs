//! Where a test can have this process killed: named points on the way of a result into the cache.
//!
//! Only builds with debug assertions have them, and only a process whose environment says
//! `RUNNER_DIE_AT=<point>` (or `<point>:<n>` for the n-th time) takes notice: it is killed there as by
//! `kill -9`. In a release build every function here is empty.

/// A point on the way of a result, in the order in which a result passes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// The process has a staging directory, and its lock.
    SessionMade,
    /// The row is written that says who runs the stage.
    Claimed,
    /// The stage has empty output directories.
    ScratchMade,
    /// The files of an output are hashed and read-only.
    FilesHashed,
    /// The manifest lies beside them.
    ManifestWritten,
    /// The artifact is in the store, perhaps not yet on the disk.
    Moved,
    /// The artifacts of a batch are on the disk.
    Synced,
    /// Their lines are in the journal.
    Journaled,
    /// Their rows are written, but not committed.
    RowsWritten,
    /// Their rows are committed.
    Recorded,
    /// A damaged artifact is moved out of the store.
    SetAside,
    /// A database was made from the journal beside the damaged one.
    Rebuilt,
    /// Results that nothing keeps are struck from the journal, and their rows removed, but not committed.
    Struck,
    /// That is committed.
    Unrowed,
    /// An artifact has left the store.
    Withdrawn,
    /// All that was to go is gone.
    Removed,
}

impl Point {
    /// All points that every new result passes.
    pub const COMMIT: [Point; 10] = [
        Point::SessionMade,
        Point::Claimed,
        Point::ScratchMade,
        Point::FilesHashed,
        Point::ManifestWritten,
        Point::Moved,
        Point::Synced,
        Point::Journaled,
        Point::RowsWritten,
        Point::Recorded,
    ];

    /// All points that a collection passes.
    pub const COLLECT: [Point; 4] = [Point::Struck, Point::Unrowed, Point::Withdrawn, Point::Removed];

    /// The name in the environment.
    pub fn name(self) -> &'static str {
        match self {
            Point::SessionMade => "session-made",
            Point::Claimed => "claimed",
            Point::ScratchMade => "scratch-made",
            Point::FilesHashed => "files-hashed",
            Point::ManifestWritten => "manifest-written",
            Point::Moved => "moved",
            Point::Synced => "synced",
            Point::Journaled => "journaled",
            Point::RowsWritten => "rows-written",
            Point::Recorded => "recorded",
            Point::SetAside => "set-aside",
            Point::Rebuilt => "rebuilt",
            Point::Struck => "struck",
            Point::Unrowed => "unrowed",
            Point::Withdrawn => "withdrawn",
            Point::Removed => "removed",
        }
    }
}

/// What a test says by a variable of the environment.
#[cfg(debug_assertions)]
pub(super) fn setting(variable: &str) -> Option<String> {
    std::env::var(variable).ok()
}

/// No variable means anything.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub(super) fn setting(_: &str) -> Option<String> {
    None
}

/// Kills this process if it was told to die here.
#[cfg(debug_assertions)]
pub(super) fn reach(point: Point) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static TOLD: OnceLock<Option<(String, u64)>> = OnceLock::new();
    static PASSED: AtomicU64 = AtomicU64::new(0);
    let told = TOLD.get_or_init(|| {
        let text = setting("RUNNER_DIE_AT")?;
        let (name, number) = text.split_once(':').unwrap_or((&text, "1"));
        Some((name.to_string(), number.parse().unwrap_or(1)))
    });
    let Some((name, number)) = told else { return };
    if name == point.name() && PASSED.fetch_add(1, Ordering::Relaxed) + 1 == *number {
        // SAFETY: a plain system call; the process ends in it.
        unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
    }
}

#[cfg(not(debug_assertions))]
#[inline(always)]
pub(super) fn reach(_: Point) {}
