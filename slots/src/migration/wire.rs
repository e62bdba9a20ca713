//! Messages as bytes: arrays of strings, as clients send commands.

/// The command that carries keys.
pub const RESTORE: &[u8] = b"SLOTSRESTORE-ASYNC";
/// The command that carries the source's password.
pub const AUTH: &[u8] = b"SLOTSRESTORE-ASYNC-AUTH";
/// The command that names the database.
pub const SELECT: &[u8] = b"SLOTSRESTORE-ASYNC-SELECT";
/// The command by which the target answers each message.
pub const ACK: &[u8] = b"SLOTSRESTORE-ASYNC-ACK";

/// Appends the header of a message of `args` arguments, its name included.
pub fn header(args: usize, to: &mut Vec<u8>) {
    number(b'*', args, to);
}

/// Appends one argument.
pub fn arg(bytes: &[u8], to: &mut Vec<u8>) {
    arg_header(bytes.len(), to);
    to.extend_from_slice(bytes);
    to.extend_from_slice(b"\r\n");
}

/// Appends the header of an argument whose `len` bytes and line end follow.
pub fn arg_header(len: usize, to: &mut Vec<u8>) {
    number(b'$', len, to);
}

/// Appends a whole message.
pub fn message(args: &[&[u8]], to: &mut Vec<u8>) {
    header(args.len(), to);
    args.iter().for_each(|bytes| arg(bytes, to));
}

/// Appends one acknowledgement: the code is 0 for success, -1 for a refusal after which the target closes.
pub fn ack(code: i32, text: &[u8], to: &mut Vec<u8>) {
    message(&[ACK, if code == 0 { b"0" } else { b"-1" }, text], to);
}

fn number(kind: u8, value: usize, to: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    let mut left = value;
    loop {
        at -= 1;
        digits[at] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    to.push(kind);
    to.extend_from_slice(&digits[at..]);
    to.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_look_as_the_originals_do() {
        let mut out = Vec::new();
        message(&[RESTORE, b"delete", b"greeting"], &mut out);
        assert_eq!(out, b"*3\r\n$18\r\nSLOTSRESTORE-ASYNC\r\n$6\r\ndelete\r\n$8\r\ngreeting\r\n");
        out.clear();
        ack(0, b"OK", &mut out);
        assert_eq!(out, b"*3\r\n$22\r\nSLOTSRESTORE-ASYNC-ACK\r\n$1\r\n0\r\n$2\r\nOK\r\n");
        out.clear();
        header(100_204, &mut out);
        arg_header(0, &mut out);
        assert_eq!(out, b"*100204\r\n$0\r\n");
    }
}
