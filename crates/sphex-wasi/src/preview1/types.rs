//! The types of preview 1, with the numbers and byte layouts of its witx, little endian.
//!
//! Everything here is plain data: error codes, rights and flags, and the records that cross into guest memory.
//! A record knows its size and how to write itself into exactly that many bytes; nothing here touches a guest.

macro_rules! errnos {
    ($($number:literal $name:ident $text:literal)*) => {
        /// An error code of preview 1, in the order of the witx.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u16)]
        #[allow(missing_docs)]
        pub enum Errno { $($name = $number,)* }

        impl Errno {
            /// Every code, by number.
            pub const ALL: &[Errno] = &[$(Errno::$name,)*];

            /// What the code means, in lower case.
            pub fn text(self) -> &'static str {
                match self { $(Errno::$name => $text,)* }
            }
        }
    };
}

errnos! {
    0 Success "no error occurred"
    1 TooBig "argument list too long"
    2 Acces "permission denied"
    3 AddrInUse "address in use"
    4 AddrNotAvail "address not available"
    5 AfNoSupport "address family not supported"
    6 Again "resource unavailable, or operation would block"
    7 Already "connection already in progress"
    8 Badf "bad file descriptor"
    9 BadMsg "bad message"
    10 Busy "device or resource busy"
    11 Canceled "operation canceled"
    12 Child "no child processes"
    13 ConnAborted "connection aborted"
    14 ConnRefused "connection refused"
    15 ConnReset "connection reset"
    16 Deadlk "resource deadlock would occur"
    17 DestAddrReq "destination address required"
    18 Dom "argument out of the domain of the function"
    19 Dquot "disk quota exceeded"
    20 Exist "file exists"
    21 Fault "bad address"
    22 Fbig "file too large"
    23 HostUnreach "host is unreachable"
    24 Idrm "identifier removed"
    25 Ilseq "illegal byte sequence"
    26 InProgress "operation in progress"
    27 Intr "interrupted function"
    28 Inval "invalid argument"
    29 Io "input or output error"
    30 IsConn "socket is connected"
    31 IsDir "is a directory"
    32 Loop "too many levels of symbolic links"
    33 Mfile "too many open descriptors"
    34 Mlink "too many links"
    35 MsgSize "message too large"
    36 Multihop "multihop attempted"
    37 NameTooLong "file name too long"
    38 NetDown "network is down"
    39 NetReset "connection aborted by network"
    40 NetUnreach "network unreachable"
    41 Nfile "too many files open in system"
    42 NoBufs "no buffer space available"
    43 NoDev "no such device"
    44 NoEnt "no such file or directory"
    45 NoExec "executable file format error"
    46 NoLck "no locks available"
    47 NoLink "link severed"
    48 NoMem "not enough space"
    49 NoMsg "no message of the desired type"
    50 NoProtoOpt "protocol not available"
    51 NoSpc "no space left on device"
    52 NoSys "function not supported"
    53 NotConn "the socket is not connected"
    54 NotDir "not a directory"
    55 NotEmpty "directory not empty"
    56 NotRecoverable "state not recoverable"
    57 NotSock "not a socket"
    58 NotSup "not supported"
    59 NotTy "inappropriate device control operation"
    60 Nxio "no such device or address"
    61 Overflow "value too large for its data type"
    62 OwnerDead "previous owner died"
    63 Perm "operation not permitted"
    64 Pipe "broken pipe"
    65 Proto "protocol error"
    66 ProtoNoSupport "protocol not supported"
    67 ProtoType "protocol wrong type for socket"
    68 Range "result too large"
    69 Rofs "read-only file system"
    70 Spipe "invalid seek"
    71 Srch "no such process"
    72 Stale "stale file handle"
    73 TimedOut "connection timed out"
    74 TxtBsy "text file busy"
    75 Xdev "cross-device link"
    76 NotCapable "capabilities insufficient"
}

impl Errno {
    /// The code's number as the guest sees it.
    pub fn raw(self) -> u16 {
        self as u16
    }
}

impl std::fmt::Display for Errno {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.text())
    }
}

impl std::error::Error for Errno {}

impl From<rustix::io::Errno> for Errno {
    fn from(host: rustix::io::Errno) -> Errno {
        HOST_ERRNOS.iter().find(|(from, _)| *from == host).map_or(Errno::Io, |&(_, to)| to)
    }
}

impl From<std::io::Error> for Errno {
    /// The path resolver reports a way out of a directory as "permission denied" without a number: that is the
    /// guest's EPERM, unlike EACCES, which the kernel says of files inside.
    fn from(error: std::io::Error) -> Errno {
        use std::io::ErrorKind;
        match (rustix::io::Errno::from_io_error(&error), error.kind()) {
            (Some(host), _) => host.into(),
            (None, ErrorKind::PermissionDenied) => Errno::Perm,
            (None, ErrorKind::NotFound) => Errno::NoEnt,
            (None, ErrorKind::AlreadyExists) => Errno::Exist,
            (None, ErrorKind::InvalidInput) => Errno::Inval,
            (None, ErrorKind::WouldBlock) => Errno::Again,
            (None, ErrorKind::BrokenPipe) => Errno::Pipe,
            (None, ErrorKind::Unsupported) => Errno::NotSup,
            _ => Errno::Io,
        }
    }
}

/// The host's codes and ours. Searched in order, so the frequent ones come first.
const HOST_ERRNOS: &[(rustix::io::Errno, Errno)] = {
    use rustix::io::Errno as H;
    &[
        (H::NOENT, Errno::NoEnt),
        (H::AGAIN, Errno::Again),
        (H::NOTDIR, Errno::NotDir),
        (H::ISDIR, Errno::IsDir),
        (H::EXIST, Errno::Exist),
        (H::ACCESS, Errno::Acces),
        (H::LOOP, Errno::Loop),
        (H::INVAL, Errno::Inval),
        (H::PERM, Errno::Perm),
        (H::PIPE, Errno::Pipe),
        (H::TOOBIG, Errno::TooBig),
        (H::ADDRINUSE, Errno::AddrInUse),
        (H::ADDRNOTAVAIL, Errno::AddrNotAvail),
        (H::AFNOSUPPORT, Errno::AfNoSupport),
        (H::ALREADY, Errno::Already),
        (H::BADF, Errno::Badf),
        (H::BADMSG, Errno::BadMsg),
        (H::BUSY, Errno::Busy),
        (H::CANCELED, Errno::Canceled),
        (H::CHILD, Errno::Child),
        (H::CONNABORTED, Errno::ConnAborted),
        (H::CONNREFUSED, Errno::ConnRefused),
        (H::CONNRESET, Errno::ConnReset),
        (H::DEADLK, Errno::Deadlk),
        (H::DESTADDRREQ, Errno::DestAddrReq),
        (H::DOM, Errno::Dom),
        (H::DQUOT, Errno::Dquot),
        (H::FAULT, Errno::Fault),
        (H::FBIG, Errno::Fbig),
        (H::HOSTUNREACH, Errno::HostUnreach),
        (H::IDRM, Errno::Idrm),
        (H::ILSEQ, Errno::Ilseq),
        (H::INPROGRESS, Errno::InProgress),
        (H::INTR, Errno::Intr),
        (H::IO, Errno::Io),
        (H::ISCONN, Errno::IsConn),
        (H::MFILE, Errno::Mfile),
        (H::MLINK, Errno::Mlink),
        (H::MSGSIZE, Errno::MsgSize),
        (H::MULTIHOP, Errno::Multihop),
        (H::NAMETOOLONG, Errno::NameTooLong),
        (H::NETDOWN, Errno::NetDown),
        (H::NETRESET, Errno::NetReset),
        (H::NETUNREACH, Errno::NetUnreach),
        (H::NFILE, Errno::Nfile),
        (H::NOBUFS, Errno::NoBufs),
        (H::NODEV, Errno::NoDev),
        (H::NOEXEC, Errno::NoExec),
        (H::NOLCK, Errno::NoLck),
        (H::NOLINK, Errno::NoLink),
        (H::NOMEM, Errno::NoMem),
        (H::NOMSG, Errno::NoMsg),
        (H::NOPROTOOPT, Errno::NoProtoOpt),
        (H::NOSPC, Errno::NoSpc),
        (H::NOSYS, Errno::NoSys),
        (H::NOTCONN, Errno::NotConn),
        (H::NOTEMPTY, Errno::NotEmpty),
        (H::NOTRECOVERABLE, Errno::NotRecoverable),
        (H::NOTSOCK, Errno::NotSock),
        (H::NOTSUP, Errno::NotSup),
        (H::NOTTY, Errno::NotTy),
        (H::NXIO, Errno::Nxio),
        (H::OVERFLOW, Errno::Overflow),
        (H::OWNERDEAD, Errno::OwnerDead),
        (H::PROTO, Errno::Proto),
        (H::PROTONOSUPPORT, Errno::ProtoNoSupport),
        (H::PROTOTYPE, Errno::ProtoType),
        (H::RANGE, Errno::Range),
        (H::ROFS, Errno::Rofs),
        (H::SPIPE, Errno::Spipe),
        (H::SRCH, Errno::Srch),
        (H::STALE, Errno::Stale),
        (H::TIMEDOUT, Errno::TimedOut),
        (H::TXTBSY, Errno::TxtBsy),
        (H::XDEV, Errno::Xdev),
    ]
};

pub use bits::{FdFlags, FstFlags, OFlags, Rights};

/// Apart, because the names of the witx say all there is to say.
#[allow(missing_docs)]
mod bits {
    use bitflags::bitflags;

    bitflags! {
        /// What may be done with a descriptor.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct Rights: u64 {
            const FD_DATASYNC = 1 << 0;
            const FD_READ = 1 << 1;
            const FD_SEEK = 1 << 2;
            const FD_FDSTAT_SET_FLAGS = 1 << 3;
            const FD_SYNC = 1 << 4;
            const FD_TELL = 1 << 5;
            const FD_WRITE = 1 << 6;
            const FD_ADVISE = 1 << 7;
            const FD_ALLOCATE = 1 << 8;
            const PATH_CREATE_DIRECTORY = 1 << 9;
            const PATH_CREATE_FILE = 1 << 10;
            const PATH_LINK_SOURCE = 1 << 11;
            const PATH_LINK_TARGET = 1 << 12;
            const PATH_OPEN = 1 << 13;
            const FD_READDIR = 1 << 14;
            const PATH_READLINK = 1 << 15;
            const PATH_RENAME_SOURCE = 1 << 16;
            const PATH_RENAME_TARGET = 1 << 17;
            const PATH_FILESTAT_GET = 1 << 18;
            const PATH_FILESTAT_SET_SIZE = 1 << 19;
            const PATH_FILESTAT_SET_TIMES = 1 << 20;
            const FD_FILESTAT_GET = 1 << 21;
            const FD_FILESTAT_SET_SIZE = 1 << 22;
            const FD_FILESTAT_SET_TIMES = 1 << 23;
            const PATH_SYMLINK = 1 << 24;
            const PATH_REMOVE_DIRECTORY = 1 << 25;
            const PATH_UNLINK_FILE = 1 << 26;
            const POLL_FD_READWRITE = 1 << 27;
            const SOCK_SHUTDOWN = 1 << 28;
            const SOCK_ACCEPT = 1 << 29;
        }

        /// Modes of a descriptor.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
        pub struct FdFlags: u16 {
            const APPEND = 1;
            const DSYNC = 2;
            const NONBLOCK = 4;
            const RSYNC = 8;
            const SYNC = 16;
        }

        /// How `path_open` opens.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
        pub struct OFlags: u16 {
            const CREAT = 1;
            const DIRECTORY = 2;
            const EXCL = 4;
            const TRUNC = 8;
        }

        /// Which times to set, and to what.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
        pub struct FstFlags: u16 {
            const ATIM = 1;
            const ATIM_NOW = 2;
            const MTIM = 4;
            const MTIM_NOW = 8;
        }
    }
}

impl Rights {
    /// What can be meant for a file or stream.
    pub const FILE: Rights = Rights::FD_DATASYNC
        .union(Rights::FD_READ)
        .union(Rights::FD_SEEK)
        .union(Rights::FD_FDSTAT_SET_FLAGS)
        .union(Rights::FD_SYNC)
        .union(Rights::FD_TELL)
        .union(Rights::FD_WRITE)
        .union(Rights::FD_ADVISE)
        .union(Rights::FD_ALLOCATE)
        .union(Rights::FD_FILESTAT_GET)
        .union(Rights::FD_FILESTAT_SET_SIZE)
        .union(Rights::FD_FILESTAT_SET_TIMES)
        .union(Rights::POLL_FD_READWRITE);

    /// What can be meant for a directory.
    pub const DIRECTORY: Rights = Rights::FD_DATASYNC
        .union(Rights::FD_SYNC)
        .union(Rights::PATH_CREATE_DIRECTORY)
        .union(Rights::PATH_CREATE_FILE)
        .union(Rights::PATH_LINK_SOURCE)
        .union(Rights::PATH_LINK_TARGET)
        .union(Rights::PATH_OPEN)
        .union(Rights::FD_READDIR)
        .union(Rights::PATH_READLINK)
        .union(Rights::PATH_RENAME_SOURCE)
        .union(Rights::PATH_RENAME_TARGET)
        .union(Rights::PATH_FILESTAT_GET)
        .union(Rights::PATH_FILESTAT_SET_SIZE)
        .union(Rights::PATH_FILESTAT_SET_TIMES)
        .union(Rights::FD_FILESTAT_GET)
        .union(Rights::FD_FILESTAT_SET_TIMES)
        .union(Rights::PATH_SYMLINK)
        .union(Rights::PATH_REMOVE_DIRECTORY)
        .union(Rights::PATH_UNLINK_FILE);

    /// What can be meant for a socket.
    pub const SOCKET: Rights = Rights::FD_READ
        .union(Rights::FD_WRITE)
        .union(Rights::FD_FDSTAT_SET_FLAGS)
        .union(Rights::FD_FILESTAT_GET)
        .union(Rights::POLL_FD_READWRITE)
        .union(Rights::SOCK_SHUTDOWN)
        .union(Rights::SOCK_ACCEPT);

    /// What a directory may hand down: anything but sockets.
    pub const INHERITABLE: Rights = Rights::FILE.union(Rights::DIRECTORY);
}

/// What kind of thing a descriptor or path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[allow(missing_docs)]
#[repr(u8)]
pub enum Filetype {
    #[default]
    Unknown = 0,
    BlockDevice = 1,
    CharacterDevice = 2,
    Directory = 3,
    RegularFile = 4,
    SocketDgram = 5,
    SocketStream = 6,
    SymbolicLink = 7,
}

impl From<rustix::fs::FileType> for Filetype {
    fn from(host: rustix::fs::FileType) -> Filetype {
        use rustix::fs::FileType as H;
        match host {
            H::BlockDevice => Filetype::BlockDevice,
            H::CharacterDevice => Filetype::CharacterDevice,
            H::Directory => Filetype::Directory,
            H::RegularFile => Filetype::RegularFile,
            H::Socket => Filetype::SocketStream,
            H::Symlink => Filetype::SymbolicLink,
            H::Fifo | H::Unknown => Filetype::Unknown,
        }
    }
}

/// `filestat`: what is known of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub struct Filestat {
    pub dev: u64,
    pub ino: u64,
    pub filetype: Filetype,
    pub nlink: u64,
    pub size: u64,
    /// Nanoseconds since 1970, like the two below; earlier times read as 0.
    pub atim: u64,
    pub mtim: u64,
    pub ctim: u64,
}

impl Filestat {
    /// Bytes in guest memory.
    pub const SIZE: usize = 64;

    /// The record as the guest reads it.
    pub fn encode(&self) -> [u8; Self::SIZE] {
        let mut out = [0; Self::SIZE];
        put(&mut out, 0, &self.dev.to_le_bytes());
        put(&mut out, 8, &self.ino.to_le_bytes());
        out[16] = self.filetype as u8;
        put(&mut out, 24, &self.nlink.to_le_bytes());
        put(&mut out, 32, &self.size.to_le_bytes());
        put(&mut out, 40, &self.atim.to_le_bytes());
        put(&mut out, 48, &self.mtim.to_le_bytes());
        put(&mut out, 56, &self.ctim.to_le_bytes());
        out
    }
}

/// `fdstat`: what is known of a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Fdstat {
    pub filetype: Filetype,
    pub flags: FdFlags,
    pub base: Rights,
    pub inheriting: Rights,
}

impl Fdstat {
    /// Bytes in guest memory.
    pub const SIZE: usize = 24;

    /// The record as the guest reads it.
    pub fn encode(&self) -> [u8; Self::SIZE] {
        let mut out = [0; Self::SIZE];
        out[0] = self.filetype as u8;
        put(&mut out, 2, &self.flags.bits().to_le_bytes());
        put(&mut out, 8, &self.base.bits().to_le_bytes());
        put(&mut out, 16, &self.inheriting.bits().to_le_bytes());
        out
    }
}

/// `prestat` of a directory, the only kind there is.
pub fn encode_prestat(name_len: u32) -> [u8; 8] {
    let mut out = [0; 8];
    put(&mut out, 4, &name_len.to_le_bytes());
    out
}

/// Bytes of a `dirent`; the name follows it.
pub const DIRENT_SIZE: usize = 24;

/// `dirent`, without the name that follows it.
pub fn encode_dirent(next: u64, ino: u64, name_len: u32, filetype: Filetype) -> [u8; DIRENT_SIZE] {
    let mut out = [0; DIRENT_SIZE];
    put(&mut out, 0, &next.to_le_bytes());
    put(&mut out, 8, &ino.to_le_bytes());
    put(&mut out, 16, &name_len.to_le_bytes());
    out[20] = filetype as u8;
    out
}

/// A `subscription` as read from the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// Handed back in the event.
    pub userdata: u64,
    /// What is waited for.
    pub what: Awaited,
}

/// What a subscription waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Awaited {
    Clock { id: u32, timeout: u64, absolute: bool },
    Read { fd: u32 },
    Write { fd: u32 },
}

impl Subscription {
    /// Bytes in guest memory.
    pub const SIZE: usize = 48;

    /// Reads the record. A tag or a flag that does not exist is EINVAL.
    pub fn decode(raw: &[u8; Self::SIZE]) -> Result<Subscription, Errno> {
        let u32_at = |at: usize| u32::from_le_bytes([raw[at], raw[at + 1], raw[at + 2], raw[at + 3]]);
        let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
        let what = match raw[8] {
            0 => {
                let flags = u16::from_le_bytes([raw[40], raw[41]]);
                if flags > 1 {
                    return Err(Errno::Inval);
                }
                Awaited::Clock { id: u32_at(16), timeout: u64_at(24), absolute: flags == 1 }
            }
            1 => Awaited::Read { fd: u32_at(16) },
            2 => Awaited::Write { fd: u32_at(16) },
            _ => return Err(Errno::Inval),
        };
        Ok(Subscription { userdata: u64_at(0), what })
    }
}

/// An `event` as written to the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Event {
    pub userdata: u64,
    pub error: Errno,
    /// 0 clock, 1 read, 2 write.
    pub kind: u8,
    pub nbytes: u64,
    pub hangup: bool,
}

impl Event {
    /// Bytes in guest memory.
    pub const SIZE: usize = 32;

    /// The record as the guest reads it.
    pub fn encode(&self) -> [u8; Self::SIZE] {
        let mut out = [0; Self::SIZE];
        put(&mut out, 0, &self.userdata.to_le_bytes());
        put(&mut out, 8, &self.error.raw().to_le_bytes());
        out[10] = self.kind;
        put(&mut out, 16, &self.nbytes.to_le_bytes());
        put(&mut out, 24, &u16::from(self.hangup).to_le_bytes());
        out
    }
}

/// Signals that `proc_raise` knows, by number.
pub const SIGNALS: &[(&str, Disposition)] = {
    use Disposition::{Ignore, Stop, Terminate};
    &[
        ("none", Ignore),
        ("HUP", Terminate),
        ("INT", Terminate),
        ("QUIT", Terminate),
        ("ILL", Terminate),
        ("TRAP", Terminate),
        ("ABRT", Terminate),
        ("BUS", Terminate),
        ("FPE", Terminate),
        ("KILL", Terminate),
        ("USR1", Terminate),
        ("SEGV", Terminate),
        ("USR2", Terminate),
        ("PIPE", Ignore),
        ("ALRM", Terminate),
        ("TERM", Terminate),
        ("CHLD", Ignore),
        ("CONT", Ignore),
        ("STOP", Stop),
        ("TSTP", Stop),
        ("TTIN", Stop),
        ("TTOU", Stop),
        ("URG", Ignore),
        ("XCPU", Terminate),
        ("XFSZ", Terminate),
        ("VTALRM", Terminate),
        ("PROF", Terminate),
        ("WINCH", Ignore),
        ("POLL", Terminate),
        ("PWR", Terminate),
        ("SYS", Terminate),
    ]
};

/// What a signal does to a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Disposition {
    Ignore,
    Stop,
    Terminate,
}

fn put(out: &mut [u8], at: usize, bytes: &[u8]) {
    out[at..at + bytes.len()].copy_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names of the witx in order, to be held against our table.
    const WITX: &str = "success 2big acces addrinuse addrnotavail afnosupport again already badf badmsg busy canceled \
        child connaborted connrefused connreset deadlk destaddrreq dom dquot exist fault fbig hostunreach idrm ilseq \
        inprogress intr inval io isconn isdir loop mfile mlink msgsize multihop nametoolong netdown netreset \
        netunreach nfile nobufs nodev noent noexec nolck nolink nomem nomsg noprotoopt nospc nosys notconn notdir \
        notempty notrecoverable notsock notsup notty nxio overflow ownerdead perm pipe proto protonosupport prototype \
        range rofs spipe srch stale timedout txtbsy xdev notcapable";

    #[test]
    fn errnos_are_those_of_the_witx() {
        let names: Vec<_> = WITX.split_whitespace().collect();
        assert_eq!((names.len(), Errno::ALL.len()), (77, 77));
        for (number, (name, errno)) in names.iter().zip(Errno::ALL).enumerate() {
            let ours = format!("{errno:?}").to_lowercase().replace("toobig", "2big");
            assert_eq!((*name, number), (ours.as_str(), errno.raw() as usize));
        }
    }

    /// Every host error has a code of its own, but the two that Linux numbers alike.
    #[test]
    fn host_errnos_map_one_to_one() {
        for (i, (host, errno)) in HOST_ERRNOS.iter().enumerate() {
            assert!(HOST_ERRNOS[..i].iter().all(|(h, e)| h != host && e != errno), "{errno:?}");
            assert_eq!(Errno::from(*host), *errno);
        }
        assert_eq!(HOST_ERRNOS.len() + 2, Errno::ALL.len(), "all but success and notcapable");
        assert_eq!(Errno::from(rustix::io::Errno::ADV), Errno::Io);
    }

    #[test]
    fn records_have_the_layout_of_the_witx() {
        let stat = Filestat {
            dev: 1,
            ino: 2,
            filetype: Filetype::RegularFile,
            nlink: 3,
            size: 0x0102_0304_0506_0708,
            atim: 5,
            mtim: 6,
            ctim: 7,
        };
        let bytes = stat.encode();
        assert_eq!((bytes[0], bytes[8], bytes[16], bytes[24]), (1, 2, 4, 3));
        assert_eq!(bytes[32..40], [8, 7, 6, 5, 4, 3, 2, 1]);
        assert_eq!((bytes[40], bytes[48], bytes[56]), (5, 6, 7));

        let flags = FdFlags::SYNC;
        let stat = Fdstat {
            filetype: Filetype::Directory,
            flags,
            base: Rights::FD_READ,
            inheriting: Rights::FD_SEEK,
        };
        let bytes = stat.encode();
        assert_eq!((bytes[0], bytes[2], bytes[8], bytes[16]), (3, 16, 2, 4));

        assert_eq!(encode_prestat(5), [0, 0, 0, 0, 5, 0, 0, 0]);
        let bytes = encode_dirent(1, 2, 3, Filetype::SymbolicLink);
        assert_eq!((bytes[0], bytes[8], bytes[16], bytes[20]), (1, 2, 3, 7));

        let event = Event { userdata: 9, error: Errno::Badf, kind: 2, nbytes: 4, hangup: true };
        let bytes = event.encode();
        assert_eq!((bytes[0], bytes[8], bytes[10], bytes[16], bytes[24]), (9, 8, 2, 4, 1));
    }

    #[test]
    fn subscriptions_decode_or_are_refused() {
        let mut raw = [0; Subscription::SIZE];
        raw[0] = 7;
        raw[16] = 1;
        raw[24] = 100;
        raw[40] = 1;
        let clock =
            Subscription { userdata: 7, what: Awaited::Clock { id: 1, timeout: 100, absolute: true } };
        assert_eq!(Subscription::decode(&raw), Ok(clock));
        raw[40] = 2;
        assert_eq!(Subscription::decode(&raw), Err(Errno::Inval));
        raw[8] = 2;
        assert_eq!(Subscription::decode(&raw).unwrap().what, Awaited::Write { fd: 1 });
        raw[8] = 3;
        assert_eq!(Subscription::decode(&raw), Err(Errno::Inval));
    }

    #[test]
    fn signals_are_those_of_the_witx() {
        assert_eq!(SIGNALS.len(), 31);
        assert_eq!((SIGNALS[6].0, SIGNALS[13].0, SIGNALS[30].0), ("ABRT", "PIPE", "SYS"));
    }
}
