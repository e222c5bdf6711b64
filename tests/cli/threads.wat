;; Threads as `wasi-threads` has them: the number on the command line says what they do.
(module
  (import "env" "memory" (memory 1 2 shared))
  (import "wasi" "thread-spawn" (func $spawn (param i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $args_sizes_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_get" (func $args_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
  (export "memory" (memory 0))
  (data $text "a thread\n")

  ;; Writes 9 bytes from 1024.
  (func $say
    (memory.init $text (i32.const 1024) (i32.const 0) (i32.const 9))
    (i32.store (i32.const 1100) (i32.const 1024))
    (i32.store (i32.const 1104) (i32.const 9))
    (drop (call $fd_write (i32.const 1) (i32.const 1100) (i32.const 1) (i32.const 1108))))
  (func $wait (drop (memory.atomic.wait32 (i32.const 8) (i32.const 0) (i64.const -1))))
  ;; Reads a byte of standard input.
  (func $read
    (i32.store (i32.const 1120) (i32.const 1140))
    (i32.store (i32.const 1124) (i32.const 1))
    (drop (call $fd_read (i32.const 0) (i32.const 1120) (i32.const 1) (i32.const 1128))))
  ;; Sleeps for an hour.
  (func $sleep
    (i64.store (i32.const 1224) (i64.const 3600000000000))
    (drop (call $poll_oneoff (i32.const 1200) (i32.const 1300) (i32.const 1) (i32.const 1400))))

  (func (export "wasi_thread_start") (param $number i32) (param $what i32)
    ;; Each has a number of its own.
    (if (i32.or (i32.lt_s (local.get $number) (i32.const 1)) (i32.gt_s (local.get $number) (i32.const 0x1fffffff)))
      (then unreachable))
    (if (i32.eq (local.get $what) (i32.const 0x65)) (then (call $exit (i32.const 7))))
    (if (i32.eq (local.get $what) (i32.const 0x74)) (then unreachable))
    (if (i32.eq (local.get $what) (i32.const 0x73)) (then (call $say)))
    (if (i32.eq (local.get $what) (i32.const 0x77)) (then (call $wait)))
    (if (i32.eq (local.get $what) (i32.const 0x6c)) (then (loop $for_ever (br $for_ever))))
    (if (i32.eq (local.get $what) (i32.const 0x72)) (then (call $read)))
    (if (i32.eq (local.get $what) (i32.const 0x7a)) (then (call $sleep)))
    (drop (i32.atomic.rmw.add (i32.const 0) (i32.const 1)))
    (drop (memory.atomic.notify (i32.const 0) (i32.const 1))))

  ;; A thread for each letter of the argument; w, l, r and z are not waited for. Then, at a `.`, waits for ever.
  (func (export "_start") (local $at i32) (local $what i32) (local $ended i32) (local $seen i32)
    (drop (call $args_sizes_get (i32.const 2000) (i32.const 2004)))
    (drop (call $args_get (i32.const 2008) (i32.const 2100)))
    (local.set $at (i32.load (i32.const 2012)))
    (block $done (loop $next
      (br_if $done (i32.eqz (local.tee $what (i32.load8_u (local.get $at)))))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (if (i32.eq (local.get $what) (i32.const 0x2e))
        (then (drop (memory.atomic.wait32 (i32.const 8) (i32.const 0) (i64.const -1))) unreachable))
      (if (i32.lt_s (call $spawn (local.get $what)) (i32.const 1)) (then (call $exit (i32.const 9))))
      (br_if $next (i32.or (i32.or (i32.eq (local.get $what) (i32.const 0x77)) (i32.eq (local.get $what) (i32.const 0x6c)))
        (i32.or (i32.eq (local.get $what) (i32.const 0x72)) (i32.eq (local.get $what) (i32.const 0x7a)))))
      (local.set $ended (i32.add (local.get $ended) (i32.const 1)))
      ;; One after the other.
      (loop $wait
        (local.set $seen (i32.atomic.load (i32.const 0)))
        (if (i32.lt_u (local.get $seen) (local.get $ended))
          (then (drop (memory.atomic.wait32 (i32.const 0) (local.get $seen) (i64.const -1))) (br $wait))))
      (br $next)))
    (call $exit (i32.add (local.get $ended) (i32.const 20)))))
