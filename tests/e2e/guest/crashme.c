// SPDX-License-Identifier: GPL-2.0
/*
 * Crashes the kernel on demand: write null, bug, softlockup or irq to /proc/crashme.
 *
 * Each crash happens a few frames below the write, in functions that the compiler may neither
 * inline, clone nor leave through a tail call, so that a test knows which names a stack must show.
 * Two kernel threads sleep for ever, in state S and in state D, likewise below known functions.
 */
#include <linux/irq_work.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/panic.h>
#include <linux/preempt.h>
#include <linux/proc_fs.h>
#include <linux/sched.h>
#include <linux/string.h>
#include <linux/uaccess.h>

/* `noipa` also stops gcc from cloning a function for a constant argument (".constprop"). */
#define FRAME static noinline __attribute__((noipa))
/* After a call: keeps the call from becoming a jump. */
#define NOT_A_TAIL_CALL() asm volatile("" ::: "memory")

/* Keeps the compiler, and objtool, from knowing that a function never returns. */
static bool crashme_never;

struct crashme_target {
	char padding[0x40];
	int value;
};

FRAME int crashme_null_deref(struct crashme_target *target)
{
	return READ_ONCE(target->value);
}

FRAME int crashme_null_middle(struct crashme_target *target)
{
	int value = crashme_null_deref(target);

	NOT_A_TAIL_CALL();
	return value + 1;
}

FRAME int crashme_null(void)
{
	int value = crashme_null_middle(NULL);

	NOT_A_TAIL_CALL();
	return value + 2;
}

FRAME void crashme_bug_here(int depth)
{
	BUG_ON(depth == 2);
}

FRAME void crashme_bug_middle(int depth)
{
	crashme_bug_here(depth + 1);
	NOT_A_TAIL_CALL();
}

FRAME void crashme_bug(void)
{
	crashme_bug_middle(1);
	NOT_A_TAIL_CALL();
}

FRAME void crashme_spin_loop(void)
{
	while (!READ_ONCE(crashme_never))
		cpu_relax();
}

FRAME void crashme_spin_middle(void)
{
	preempt_disable();
	crashme_spin_loop();
	NOT_A_TAIL_CALL();
	preempt_enable();
}

FRAME void crashme_softlockup(void)
{
	crashme_spin_middle();
	NOT_A_TAIL_CALL();
}

/* irq_work runs in the handler of an interrupt that the CPU sends itself, on the IRQ stack. */
FRAME void crashme_irq_panic(void)
{
	if (!READ_ONCE(crashme_never))
		panic("crashme: panic in hard interrupt context");
}

FRAME void crashme_irq_middle(void)
{
	crashme_irq_panic();
	NOT_A_TAIL_CALL();
}

FRAME void crashme_irq_handler(struct irq_work *work)
{
	crashme_irq_middle();
	NOT_A_TAIL_CALL();
}

static struct irq_work crashme_irq_work = IRQ_WORK_INIT_HARD(crashme_irq_handler);

FRAME void crashme_irq(void)
{
	irq_work_queue(&crashme_irq_work);
	irq_work_sync(&crashme_irq_work);
	NOT_A_TAIL_CALL();
}

static ssize_t crashme_write(struct file *file, const char __user *from, size_t size, loff_t *at)
{
	char word[16] = "";

	if (size >= sizeof(word) || copy_from_user(word, from, size))
		return -EINVAL;
	if (!strcmp(strim(word), "null"))
		crashme_null();
	else if (!strcmp(word, "bug"))
		crashme_bug();
	else if (!strcmp(word, "softlockup"))
		crashme_softlockup();
	else if (!strcmp(word, "irq"))
		crashme_irq();
	else
		return -EINVAL;
	return size;
}

static const struct proc_ops crashme_ops = { .proc_write = crashme_write };

FRAME void crashme_sleep_here(unsigned int state)
{
	while (!kthread_should_stop()) {
		set_current_state(state);
		schedule();
	}
	__set_current_state(TASK_RUNNING);
}

FRAME int crashme_sleeper(void *state)
{
	crashme_sleep_here((unsigned long)state);
	NOT_A_TAIL_CALL();
	return 0;
}

static int __init crashme_init(void)
{
	if (!proc_create("crashme", 0200, NULL, &crashme_ops))
		return -ENOMEM;
	/* Failure to start one costs a line in `ps`, no more. */
	kthread_run(crashme_sleeper, (void *)TASK_INTERRUPTIBLE, "crashme-sleeps");
	kthread_run(crashme_sleeper, (void *)TASK_UNINTERRUPTIBLE, "crashme-waits");
	return 0;
}
module_init(crashme_init);  /* and no module_exit: it stays for the life of the guest */

MODULE_DESCRIPTION("Crashes on demand");
MODULE_LICENSE("GPL");
