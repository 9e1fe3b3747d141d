;; Functions whose results are not what their types say, or far more than they seem.
;;
;; `out-of-bounds` is a string that ends outside the memory, `invalid-utf8` one that is no
;; UTF-8; `invalid-char` and `invalid-case` are numbers that stand for nothing;
;; `many-empty` is a list of two million empty lists, and `amplified` a list of 4,096
;; texts of 1 MiB that are all the same bytes.
(component
  (core module $module
    (memory (export "memory") 512)
    (data (i32.const 0) "\08\00\00\00\ff\ff\ff\7f")
    (data (i32.const 16) "\18\00\00\00\02\00\00\00\ff\fe")
    (data (i32.const 32) "\00\00\10\00\80\84\1e\00")
    (data (i32.const 48) "\00\01\00\00\00\10\00\00")
    (func (export "out-of-bounds") (result i32) i32.const 0)
    (func (export "invalid-utf8") (result i32) i32.const 16)
    (func (export "many-empty") (result i32) i32.const 32)
    (func (export "minus-one") (result i32) i32.const -1)
    ;; Writes 4,096 pairs of (1 MiB, 1 MiB) from byte 256 on.
    (func (export "amplified") (result i32)
      (local $pair i32)
      (local.set $pair (i32.const 256))
      (loop $next
        (i32.store (local.get $pair) (i32.const 0x100000))
        (i32.store offset=4 (local.get $pair) (i32.const 0x100000))
        (local.set $pair (i32.add (local.get $pair) (i32.const 8)))
        (br_if $next (i32.lt_u (local.get $pair) (i32.const 33024))))
      i32.const 48))
  (core instance $instance (instantiate $module))
  (alias core export $instance "memory" (core memory $memory))
  (type $colours (enum "red" "blue"))
  (export $colour "colour" (type $colours))
  (func (export "out-of-bounds") (result string)
    (canon lift (core func $instance "out-of-bounds") (memory $memory)))
  (func (export "invalid-utf8") (result string)
    (canon lift (core func $instance "invalid-utf8") (memory $memory)))
  (func (export "invalid-char") (result char)
    (canon lift (core func $instance "minus-one")))
  (func (export "invalid-case") (result $colour)
    (canon lift (core func $instance "minus-one")))
  (func (export "many-empty") (result (list (list u8)))
    (canon lift (core func $instance "many-empty") (memory $memory)))
  (func (export "amplified") (result (list string))
    (canon lift (core func $instance "amplified") (memory $memory))))
