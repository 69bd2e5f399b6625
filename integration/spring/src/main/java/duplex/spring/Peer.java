package duplex.spring;

/** What spring_test.go has beside Duplex: a caller or a server, as Spring has them. */
public final class Peer {
    private Peer() {}

    public static void main(String[] args) throws Exception {
        switch (args[0]) {
            case "ask" -> Ask.run(args[1]);
            case "answer" -> Answer.run(args[1], args[2], args[3]);
            default -> throw new IllegalArgumentException("ask BROKERS, or answer BROKERS TOPIC GROUP");
        }
    }
}
