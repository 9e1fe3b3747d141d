;; Three core instances, each with a memory of its own, which add up.
;; `grow-a`, `grow-b` and `grow-c` grow by pages of 64 KiB: the pages before, or -1.
(component
  (core module $module
    (memory 1)
    (func (export "grow") (param i32) (result i32)
      local.get 0
      memory.grow))
  (core instance $a (instantiate $module))
  (core instance $b (instantiate $module))
  (core instance $c (instantiate $module))
  (func (export "grow-a") (param "pages" u32) (result s32) (canon lift (core func $a "grow")))
  (func (export "grow-b") (param "pages" u32) (result s32) (canon lift (core func $b "grow")))
  (func (export "grow-c") (param "pages" u32) (result s32) (canon lift (core func $c "grow"))))
