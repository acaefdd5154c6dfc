//! Ends a child process when the test process is killed itself, too late for any destructor.

use std::process::{Child, Command, Stdio};

/// Whoever watches over a child. Dropping it ends the watch and not the child.
pub struct Guard(Child);

impl Guard {
    /// Watches over the process with this number.
    pub fn over(id: u32) -> std::io::Result<Self> {
        // Our end of its input closes with this process, however that ends.
        let script = "read -r _ || kill -KILL \"$1\"";
        let mut command = Command::new("sh");
        command.args(["-c", script, "guard", &id.to_string()]);
        Ok(Self(command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
