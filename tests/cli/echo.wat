;; Says ready, then writes what it reads, until the end of input or an errno, which is its exit code.
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 8) "\20\00\00\00\06\00\00\00")
  (data (i32.const 32) "ready\n")
  (func (export "_start") (local $errno i32)
    (drop (call $fd_write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 0)))
    (loop $next
      (i32.store (i32.const 16) (i32.const 1024))
      (i32.store (i32.const 20) (i32.const 1024))
      (call $fd_read (i32.const 0) (i32.const 16) (i32.const 1) (i32.const 20))
      (if (then (call $proc_exit (i32.const 99))))
      (if (i32.load (i32.const 20))
        (then
          (local.set $errno (call $fd_write (i32.const 1) (i32.const 16) (i32.const 1) (i32.const 0)))
          (br_if $next (i32.eqz (local.get $errno)))
          (call $proc_exit (local.get $errno)))))))
