//! The two streams: results on standard output, everything else on standard error.

use std::io::{self, Write};

/// Writes a result. A reader that has seen enough is no error.
///
/// # Panics
///
/// If standard output cannot be written to for another reason.
pub fn result(text: &str) {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => panic!("cannot write to standard output: {error}"),
        _ => {}
    }
}

/// Writes something that is no result. If nobody can read it there is nobody to tell.
pub fn note(text: &str) {
    let mut stderr = io::stderr().lock();
    let line_end = if text.ends_with('\n') { "" } else { "\n" };
    let _ = write!(stderr, "{text}{line_end}");
}

/// Says what is wrong, and how to mend it.
pub fn error(message: &str, hint: Option<&str>) {
    note(&format!("error: {message}"));
    if let Some(hint) = hint {
        note(&format!("hint: {hint}"));
    }
}
