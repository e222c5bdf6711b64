// Rust's standard library over preview 1: files, folders, metadata, seeking, environment, time, threads' absence, panics.
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};

fn main() {
    let dir = std::env::args().nth(1).expect("usage: rust_files DIR [panic]");
    let path = |name: &str| format!("{dir}/{name}");
    fs::create_dir(path("sub")).expect("create_dir");
    fs::write(path("sub/a.txt"), "alpha\n").expect("write");
    let mut f = OpenOptions::new().append(true).open(path("sub/a.txt")).expect("append");
    writeln!(f, "beta").expect("writeln");
    drop(f);
    println!("{:?}", fs::read_to_string(path("sub/a.txt")).expect("read"));
    let mut f = File::options().read(true).write(true).create_new(true).open(path("b.bin")).expect("create_new");
    f.write_all(&[7; 1000]).expect("write_all");
    f.seek(SeekFrom::Start(500)).expect("seek");
    f.write_all(b"middle").expect("write_all");
    f.seek(SeekFrom::Current(-6)).expect("seek");
    let mut six = [0; 6];
    f.read_exact(&mut six).expect("read_exact");
    println!("{} {}", String::from_utf8_lossy(&six), f.metadata().expect("metadata").len());
    f.set_len(10).expect("set_len");
    println!("{}", fs::metadata(path("b.bin")).expect("metadata").len());
    fs::rename(path("b.bin"), path("sub/c.bin")).expect("rename");
    let names: BTreeMap<String, bool> = fs::read_dir(path("sub"))
        .expect("read_dir")
        .map(|e| e.expect("entry"))
        .map(|e| (e.file_name().to_string_lossy().into_owned(), e.file_type().expect("type").is_file()))
        .collect();
    println!("{names:?}");
    println!("{:?}", File::open(path("missing")).map_err(|e| e.kind()).err());
    println!("{:?}", fs::create_dir(path("sub")).map_err(|e| e.kind()).err());
    println!("{:?}", fs::remove_dir(path("sub")).map_err(|e| e.kind()).is_err());
    println!("{}", File::open("/etc/passwd").is_err());
    fs::remove_file(path("sub/a.txt")).expect("remove_file");
    fs::remove_file(path("sub/c.bin")).expect("remove_file");
    fs::remove_dir(path("sub")).expect("remove_dir");
    println!("{:?}", std::env::var("GREETING"));
    let begin = std::time::Instant::now();
    std::thread::sleep(std::time::Duration::from_millis(2));
    println!("{}", begin.elapsed().as_micros() >= 2000);
    if std::env::args().nth(2).as_deref() == Some("panic") {
        let empty: Vec<u32> = Vec::new();
        println!("{}", empty[std::env::args().count()]);
    }
}
