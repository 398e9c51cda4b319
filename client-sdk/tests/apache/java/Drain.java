import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;

/**
 * Consumer with Apache's Java client, for the benchmark: 64 threads whose listener does nothing. Prints "warm" after
 * one fifth of the messages and "done" after all.
 *
 * Arguments: name server, topic, group, number of messages.
 */
public class Drain {
    public static void main(String[] args) throws Exception {
        int number = Integer.parseInt(args[3]);
        AtomicInteger received = new AtomicInteger();
        CountDownLatch done = new CountDownLatch(1);
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(args[2]);
        consumer.setNamesrvAddr(args[0]);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.setConsumeThreadMin(64);
        consumer.setConsumeThreadMax(64);
        consumer.subscribe(args[1], "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            int now = received.addAndGet(messages.size());
            if (now - messages.size() < number / 5 && now >= number / 5) {
                System.out.println("warm");
            }
            if (now - messages.size() < number && now >= number) {
                System.out.println("done");
                done.countDown();
            }
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        done.await();
        // The benchmark reads the memory of this process, and then kills it.
        Thread.currentThread().join();
    }
}
