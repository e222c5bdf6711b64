(module
  (import "host" "seen" (func $seen (param i32)))
  (memory 1)
  (table 1 funcref)
  ;; A sum of bytes, with a call out of the module: a loop, a load that may trap, a check for fuel and interruption.
  (func $sum (export "total") (param $at i32) (param $left i32) (result i32)
    (local $sum i32)
    (loop $next
      (local.set $sum (i32.add (local.get $sum) (i32.load8_u offset=16 (local.get $at))))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (br_if $next (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
    (call $seen (local.get $sum))
    (local.get $sum))
  (func $grow (export "grow") (result i32)
    (call $sum (memory.grow (i32.const 1)) (i32.const 2)))
  (func $choose (param i32) (result f64)
    (block (block (block (block (br_table 0 1 2 3 (local.get 0)))
      (return (f64.const 1.5))) (return (f64.const 2.5))) (return (f64.const 3.5)))
    (f64.const 4.5)))
